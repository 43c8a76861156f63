"""What a bank of series promises, whatever the series."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core.series import (
    NO_INCREMENT,
    NOT_FINITE,
    REFUSED,
    SCORED,
    WARMING,
    SeriesBank,
    SeriesSettings,
    SeriesVerdicts,
    score_series,
)
from driftlock.core.series_state import STATE_BYTES
from driftlock.errors import InputError, UsageError

MINUTE_NS = 60 * 10**9
COLUMNS = SeriesVerdicts.__slots__

Floats = npt.NDArray[np.float64]


def observe(
    bank: SeriesBank, values: Floats, *, series: int = 1, start: int = 0, counter: bool = False
) -> SeriesVerdicts:
    n = len(values)
    times = (start + np.arange(n)) * 5 * MINUTE_NS
    return bank.observe(np.full(n, series, np.uint64), times, values, np.full(n, counter))


def assert_same(a: SeriesVerdicts, b: SeriesVerdicts, rows: slice = slice(None)) -> None:
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(a, column)[rows], getattr(b, column), column)


def test_a_first_change_that_rounding_made_does_not_blind_a_series() -> None:
    values = np.concatenate([[0.3, 0.1 + 0.2], np.random.default_rng(2).normal(50, 10, 3_000)])
    found = observe(SeriesBank(SeriesSettings()), np.concatenate([values, [1e6]]))
    assert found.strange[-1]
    assert found.score[-1] > 40
    same = observe(
        SeriesBank(SeriesSettings()), np.concatenate([values[[0]], values[[0]], values[2:], [1e6]])
    )
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(found, column)[2:], getattr(same, column)[2:], column)


def daily(n: int, *, seed: int = 0, noise: float = 1.0) -> Floats:
    rng = np.random.default_rng(seed)
    return 10 * np.sin(2 * np.pi * np.arange(n) / 288) + noise * rng.normal(size=n)


class TestContract:
    @settings(max_examples=25, deadline=None)
    @given(cuts=st.lists(st.integers(0, 600), max_size=6), seed=st.integers(0, 1_000))
    def test_cutting_rows_into_calls_changes_nothing(self, cuts: list[int], seed: int) -> None:
        rng = np.random.default_rng(seed)
        series = rng.integers(0, 5, 600).astype(np.uint64)
        values = rng.standard_t(2, 600).round(1)
        times = np.arange(600) * MINUTE_NS
        counter = series == 3
        whole = SeriesBank(SeriesSettings(warm_up_points=32))
        expected = whole.observe(series, times, values, counter)
        pieces = SeriesBank(SeriesSettings(warm_up_points=32))
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 600], strict=True):
            rows = slice(start, end)
            assert_same(
                expected, pieces.observe(series[rows], times[rows], values[rows], counter[rows]), rows
            )
        assert whole.snapshot() == pieces.snapshot()

    def test_series_do_not_touch_each_other(self) -> None:
        n = 1_000
        values = daily(n)
        alone = observe(SeriesBank(SeriesSettings()), values)
        bank = SeriesBank(SeriesSettings())
        noise = np.random.default_rng(1).normal(size=(n, 300))
        series = np.tile(np.arange(300, dtype=np.uint64), n)
        noise[:, 1] = values
        mixed = bank.observe(
            series, np.repeat(np.arange(n) * 5 * MINUTE_NS, 300), noise.ravel(), np.zeros(n * 300, bool)
        )
        np.testing.assert_array_equal(mixed.score[series == 1], alone.score)
        np.testing.assert_array_equal(mixed.p_value[series == 1], alone.p_value)

    def test_inputs_are_not_mutated(self) -> None:
        arrays = (
            np.ones(300, np.uint64),
            np.arange(300) * MINUTE_NS,
            daily(300),
            np.zeros(300, np.bool_),
        )
        copies = [a.copy() for a in arrays]
        SeriesBank(SeriesSettings()).observe(*arrays)
        for array, copy in zip(arrays, copies, strict=True):
            np.testing.assert_array_equal(array, copy)

    def test_the_past_does_not_change(self) -> None:
        """A verdict is causal: later points do not matter."""
        values = daily(1_000)
        changed = values.copy()
        changed[700:] = 1e6
        first = observe(SeriesBank(SeriesSettings()), values)
        second = observe(SeriesBank(SeriesSettings()), changed)
        np.testing.assert_array_equal(first.score[:700], second.score[:700])

    def test_columns_keep_their_bounds(self) -> None:
        values = np.concatenate([daily(2_000), np.random.default_rng(3).standard_t(1, 2_000) * 1e6])
        v = observe(SeriesBank(SeriesSettings()), values)
        assert (v.score >= 0).all()
        assert ((v.anomaly_score >= 0) & (v.anomaly_score <= 1)).all()
        assert ((v.p_value > 0) & (v.p_value <= 1)).all()
        assert (v.surprise_bits >= 0).all()
        assert (v.low <= v.high).all()
        np.testing.assert_allclose(v.parts.sum(axis=1), v.score, atol=1e-9)
        assert not v.alarm[v.anomaly_score == 0].any()

    def test_empty_call(self) -> None:
        assert len(observe(SeriesBank(SeriesSettings()), np.zeros(0))) == 0


class TestState:
    def test_restored_bank_continues_bit_for_bit(self) -> None:
        values = daily(3_000)
        bank = SeriesBank(SeriesSettings())
        for series in (5, 2**64 - 1, 0):
            observe(bank, values[:1_500], series=series)
        twin = SeriesBank.restore(bank.settings, bank.snapshot())
        assert len(twin) == 3
        for series in (0, 5, 2**64 - 1):
            a = observe(bank, values[1_500:], series=series, start=1_500)
            assert_same(a, observe(twin, values[1_500:], series=series, start=1_500))
        assert bank.snapshot() == twin.snapshot()

    def test_one_series_moves_by_dump_and_load(self) -> None:
        values = daily(1_500)
        bank = SeriesBank(SeriesSettings())
        observe(bank, values[:1_000], series=7)
        other = SeriesBank(SeriesSettings())
        observe(other, values[:10], series=3)
        other.load(7, bank.dump(7))
        a = observe(bank, values[1_000:], series=7, start=1_000)
        assert_same(a, observe(other, values[1_000:], series=7, start=1_000))
        with pytest.raises(KeyError):
            bank.dump(8)
        with pytest.raises(UsageError, match="not that of"):
            bank.load(8, bank.dump(7))

    def test_changed_series_are_told(self) -> None:
        bank = SeriesBank(SeriesSettings())
        observe(bank, daily(5), series=4)
        observe(bank, daily(5), series=2)
        assert bank.dirty() == [4, 2]
        bank.clean()
        observe(bank, daily(5), series=2)
        assert bank.dirty() == [2]

    @pytest.mark.parametrize("data", [b"", b"DLSERIES", b"DLSERIES12345678" + b"0" * 100, b"x" * 5_000])
    def test_foreign_state_is_refused(self, data: bytes) -> None:
        with pytest.raises(UsageError):
            SeriesBank.restore(SeriesSettings(), data)

    def test_cut_state_is_refused(self) -> None:
        bank = SeriesBank(SeriesSettings())
        observe(bank, daily(5))
        with pytest.raises(InputError, match="damaged"):
            SeriesBank.restore(SeriesSettings(), bank.snapshot()[:-1])

    def test_bytes_a_series(self) -> None:
        bank = SeriesBank(SeriesSettings())
        ids = np.arange(10_000, dtype=np.uint64)
        bank.observe(ids, np.zeros(10_000, np.int64), np.ones(10_000), np.zeros(10_000, bool))
        assert STATE_BYTES <= 5_632
        assert bank.state_bytes / len(bank) <= 8_192

    def test_a_full_bank_refuses_new_series_only(self) -> None:
        bank = SeriesBank(SeriesSettings(series_max=100))
        ids = np.random.default_rng(0).permutation(200_000).astype(np.uint64)
        v = bank.observe(ids, np.zeros(200_000, np.int64), np.ones(200_000), np.zeros(200_000, bool))
        assert (v.status[:100] == WARMING).all()
        assert (v.status[100:] == REFUSED).all()
        assert len(bank) == 100
        assert bank.state_bytes < 2_000_000
        again = bank.observe(ids[:100], np.ones(100, np.int64), np.ones(100), np.zeros(100, bool))
        assert (again.status == WARMING).all()
        with pytest.raises(UsageError, match="series_max"):
            SeriesBank.restore(SeriesSettings(series_max=99), bank.snapshot())

    def test_ids_that_collide_in_the_table(self) -> None:
        """Multiples of a large power of two share their low bits; each still keeps its own state."""
        bank = SeriesBank(SeriesSettings())
        ids = (np.arange(4_000, dtype=np.uint64) << np.uint64(50)) + np.uint64(1)
        distinct = len(np.unique(ids))
        bank.observe(ids, np.zeros(4_000, np.int64), np.ones(4_000), np.zeros(4_000, bool))
        assert len(bank) == distinct


class TestUnitsOfMeasurement:
    SERIES = (
        daily(3_000),
        np.random.default_rng(1).standard_t(2, 3_000),
        np.random.default_rng(2).poisson(4, 3_000).astype(float),
        np.cumsum(np.random.default_rng(3).normal(size=3_000)),
    )

    @pytest.mark.parametrize("values", SERIES)
    @pytest.mark.parametrize("exponent", [-300, -10, 1, 30, 600])
    def test_powers_of_two_change_no_bit(self, values: Floats, exponent: int) -> None:
        plain = observe(SeriesBank(SeriesSettings()), values)
        scaled = observe(SeriesBank(SeriesSettings()), np.ldexp(values, exponent))
        for column in ("score", "p_value", "anomaly_score", "surprise_bits", "alarm", "parts", "status"):
            np.testing.assert_array_equal(getattr(plain, column), getattr(scaled, column), column)
        np.testing.assert_array_equal(np.ldexp(plain.expected, exponent), scaled.expected)

    @pytest.mark.parametrize("values", SERIES)
    @pytest.mark.parametrize(
        ("factor", "offset"), [(0.001, 0.0), (1.0, 1e4), (1.8, 32.0), (1e-9, -7.0), (1e6, 3e8)]
    )
    def test_other_units_change_no_verdict(self, values: Floats, factor: float, offset: float) -> None:
        """Rounding of the readings themselves is all that remains: scores agree to 1e-4 bits."""
        plain = observe(SeriesBank(SeriesSettings()), values)
        other = observe(SeriesBank(SeriesSettings()), factor * values + offset)
        np.testing.assert_allclose(plain.score, other.score, atol=1e-4)
        np.testing.assert_allclose(plain.anomaly_score, other.anomaly_score, atol=1e-4)
        np.testing.assert_array_equal(plain.p_value, other.p_value)
        np.testing.assert_array_equal(plain.alarm, other.alarm)


class TestReadings:
    def test_not_finite_points_are_ignored(self) -> None:
        values = daily(1_000)
        dirty = np.insert(values, [300, 300, 700], [math.nan, math.inf, -math.inf])
        times = np.insert(np.arange(1_000) * 5 * MINUTE_NS, [300, 300, 700], 7)
        plain = observe(SeriesBank(SeriesSettings()), values)
        v = SeriesBank(SeriesSettings()).observe(
            np.ones(1_003, np.uint64), times, dirty, np.zeros(1_003, np.bool_)
        )
        bad = ~np.isfinite(dirty)
        assert (v.status[bad] == NOT_FINITE).all()
        assert not v.alarm[bad].any()
        np.testing.assert_array_equal(v.score[~bad], plain.score)

    def test_a_counter_is_scored_by_its_rate(self) -> None:
        rate = np.abs(daily(2_000)) + 1
        counter = np.cumsum(rate * 300)
        v = observe(SeriesBank(SeriesSettings()), counter, counter=True)
        assert v.status[0] == NO_INCREMENT
        np.testing.assert_allclose(v.value[1:], rate[1:], rtol=1e-9)

    def test_a_counter_that_resets_is_no_anomaly(self) -> None:
        rng = np.random.default_rng(0)
        counter = np.cumsum(rng.poisson(1_000, 3_000)).astype(float)
        counter[2_000:] -= counter[1_999]
        v = observe(SeriesBank(SeriesSettings()), counter, counter=True)
        assert v.value[1:].min() > 0
        assert not v.alarm[1_990:2_010].any()

    def test_a_counter_whose_clock_stands_still_or_turns_back(self) -> None:
        bank = SeriesBank(SeriesSettings())
        times = np.array([0, 60, 60, 30, 90, 9 * 10**9]) * 10**9
        v = bank.observe(np.ones(6, np.uint64), times, np.arange(6.0), np.ones(6, np.bool_))
        assert v.status.tolist() == [NO_INCREMENT, WARMING, NO_INCREMENT, NO_INCREMENT, WARMING, WARMING]

    def test_a_clock_that_leaps_over_all_time_tells_no_rate(self) -> None:
        bank = SeriesBank(SeriesSettings())
        times = np.array([-(2**63), 2**63 - 1], np.int64)
        v = bank.observe(np.ones(2, np.uint64), times, np.arange(2.0), np.ones(2, np.bool_))
        assert v.status.tolist() == [NO_INCREMENT, NO_INCREMENT]

    @pytest.mark.parametrize("value", [0.0, 5.0, -1e300, 1e-300, 5e-324])
    def test_a_constant_series_is_silent(self, value: float) -> None:
        v = observe(SeriesBank(SeriesSettings()), np.full(3_000, value))
        assert not v.score.any()
        assert not v.alarm.any()
        np.testing.assert_array_equal(v.expected, value)

    def test_the_first_change_of_a_constant_series_is_an_anomaly(self) -> None:
        values = np.zeros(4_000)
        values[3_000:3_005] = 2.0
        v = observe(SeriesBank(SeriesSettings()), values)
        assert np.flatnonzero(v.alarm).tolist() == [3_000]

    @pytest.mark.parametrize("scale", [1e-300, 1e300, 1e-320])
    def test_huge_and_tiny_magnitudes_are_safe(self, scale: float) -> None:
        values = daily(1_000) * scale / 20
        values[500] = -1.7e308
        values[501] = 1.7e308
        v = observe(SeriesBank(SeriesSettings()), values)
        for column in ("score", "p_value", "anomaly_score", "surprise_bits", "parts"):
            assert np.isfinite(getattr(v, column)).all(), column
        after = observe(SeriesBank(SeriesSettings()), daily(1_000))
        assert np.isfinite(after.score).all()

    @pytest.mark.parametrize("times", [np.zeros(500), -np.arange(500), np.arange(500) * 2**53])
    def test_odd_clocks_are_safe(self, times: Floats) -> None:
        v = SeriesBank(SeriesSettings()).observe(
            np.ones(500, np.uint64), times.astype(np.int64), daily(500), np.zeros(500, np.bool_)
        )
        assert (v.status[128:] == SCORED).all()


class TestVerdicts:
    def test_one_alarm_an_episode_at_the_exact_point(self) -> None:
        values = daily(6_000)
        values[4_000:4_030] += 60
        v = observe(SeriesBank(SeriesSettings()), values)
        alarms = np.flatnonzero(v.alarm)
        near = alarms[(alarms >= 4_000) & (alarms < 4_100)]
        assert near.tolist() == [4_000]
        assert v.score[4_000] == v.score.max()

    def test_a_day_at_another_days_level_is_found(self) -> None:
        """Smooth, within range, only wrong for its time: the departure from the season finds it."""
        values = daily(288 * 14, noise=0.3)
        values[288 * 10 + 30 : 288 * 10 + 130] = values[288 * 10 + 30]
        v = observe(SeriesBank(SeriesSettings()), values)
        found = np.flatnonzero(v.alarm & (v.parts[:, 1] > 5))
        assert any(288 * 10 + 30 <= i < 288 * 10 + 150 for i in found)

    def test_explanation_names_the_numbers(self) -> None:
        values = daily(3_000)
        values[2_500] = 90.0
        bank = SeriesBank(SeriesSettings())
        v = observe(bank, values)
        sentence, detail = bank.explain(1, v, 2_500, name="cpu.load")
        assert sentence.startswith("cpu.load was 90 where ")
        assert "the series has not been near this value before" in sentence
        assert sum(detail["parts_bits"].values()) == pytest.approx(detail["score_bits"])
        assert detail["band"]["low"] < detail["expected"] < detail["band"]["high"] < 90
        reached, points = detail["points_reaching"], detail["calibration_points"]
        assert detail["p_value"] == (1 + reached) / (1 + points)

    def test_a_lasting_drop_in_a_bursty_series_is_told_by_its_bent_level(self) -> None:
        """Bursts hide it from the season of raw values, by which alone the median is 1.5 bits."""
        bits = []
        for seed in range(6):
            rng = np.random.default_rng(seed)
            values = rng.poisson(5, 8_000) + (rng.random(8_000) < 0.02) * rng.exponential(100, 8_000).round()
            values[7_000:7_150] -= np.minimum(values[7_000:7_150], 4)
            v = observe(SeriesBank(SeriesSettings()), values)
            bits.append(v.parts[7_000:7_150, 1].max())
        assert np.median(bits) > 4

    def test_a_young_series_says_less(self) -> None:
        """The same jump after the same noise: what few points have not shown is little news."""
        noise = np.tile(np.random.default_rng(7).normal(size=200), 30)
        young, old = (observe(SeriesBank(SeriesSettings()), np.append(noise[:n], 30.0)) for n in (400, 6_000))
        told = [-16 * np.log2(1 - v.anomaly_score[-1]) for v in (young, old)]
        assert told[0] == pytest.approx(young.score[-1] - 1.5 * np.log2(1 + 1_000 / 400))
        assert told[1] == pytest.approx(old.score[-1] - 1.5 * np.log2(1 + 1_000 / 6_000))

    def test_a_band_is_told_only_where_it_held(self) -> None:
        """Not before 256 checks, and not while it missed too many of late: values that grow eightfold."""
        rng = np.random.default_rng(5)
        values = rng.normal(size=3_000)
        values[1_500:1_700] = rng.normal(size=200) * 8.0 ** np.arange(200)
        bank = SeriesBank(SeriesSettings())
        v = observe(bank, values)
        assert not v.band_held[:256].any()
        assert v.band_held[400:1_400].all()
        assert not v.band_held[1_650:1_700].any()
        _, told = bank.explain(1, v, 1_400)
        assert told["band"]["coverage"] == 0.95
        assert told["band"]["low"] < told["expected"] < told["band"]["high"]
        for index in (200, 1_690):
            sentence, detail = bank.explain(1, v, index)
            assert detail["band"] == {"low": None, "high": None, "coverage": None}
            assert " was expected: " in sentence
            assert "% of cases" not in sentence

    def test_explanation_of_a_counter_tells_rate_and_reading(self) -> None:
        counter = np.cumsum(np.full(1_000, 300.0) + np.arange(1_000) % 7)
        counter[900:] += 50_000
        bank = SeriesBank(SeriesSettings())
        v = observe(bank, counter, counter=True)
        sentence, _ = bank.explain(1, v, 900, value=float(counter[900]))
        assert sentence.startswith("series 0000000000000001 was 167.7 a second (counter at 3.")

    def test_a_great_jump_soon_after_warm_up_is_one_alarm(self) -> None:
        values = 100 + 5 * np.random.default_rng(3).normal(size=260)
        values[230:233] = 600
        bank = SeriesBank(SeriesSettings())
        v = observe(bank, values)
        assert v.alarm[230]
        assert v.p_value[230] <= 0.01
        assert v.alarm[220:].sum() == 1

    def test_warm_up_tells_its_progress(self) -> None:
        bank = SeriesBank(SeriesSettings(p_value_threshold=0.05))
        assert bank.warm_up(1).phase == "learning"
        assert bank.warm_up(1).earliest_p == 1.0
        observe(bank, daily(100))
        assert bank.warm_up(1).phase == "learning"
        observe(bank, daily(28 + 1), start=100)
        assert bank.warm_up(1).phase == "calibrating"
        assert bank.warm_up(1).earliest_p == 0.5
        needed = bank.warm_up(1).units_needed
        assert needed == 128 + 19
        observe(bank, daily(needed - 129), start=129)
        assert bank.warm_up(1).phase == "ready"
        assert bank.warm_up(1).earliest_p == pytest.approx(0.05)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"p_value_threshold": 0.0},
            {"p_value_threshold": 1.0},
            {"alarm_bits": -1.0},
            {"alarm_bits": math.nan},
            {"warm_up_points": 31},
            {"series_max": 0},
        ],
    )
    def test_settings_are_validated(self, wrong: dict[str, float]) -> None:
        with pytest.raises(UsageError):
            SeriesSettings(**wrong)  # type: ignore[arg-type]


class TestScoreSeries:
    def test_scores_a_file_of_texts_as_of_nanoseconds(self) -> None:
        values = daily(600)
        values[500] = 80
        ns = 1_700_000_000_000_000_000 + np.arange(600) * MINUTE_NS
        texts = [str(np.datetime64(int(t), "ns")).replace("T", " ")[:19] for t in ns]
        scores = score_series(texts, values)
        assert scores.argmax() == 500
        np.testing.assert_array_equal(scores, score_series(ns, values))
        np.testing.assert_array_equal(
            scores, score_series([t.replace(" ", "T") + "Z" for t in texts], values)
        )
        np.testing.assert_array_equal(scores, score_series([t + "+00:00" for t in texts], values))
        np.testing.assert_array_equal(scores, score_series([str(int(t) // 10**9) for t in ns], values))
        np.testing.assert_array_equal(scores, score_series([str(int(t) // 10**6) for t in ns], values))

    def test_a_bad_timestamp_is_named(self) -> None:
        with pytest.raises(InputError, match=r"row 2: 'yesterday' is not a timestamp"):
            score_series(["2024-01-01 00:00:00", "yesterday"], [1.0, 2.0])

    def test_points_that_are_not_numbers_score_nothing(self) -> None:
        assert score_series(["2024-01-01", "2024-01-02"], [math.nan, 1.0]).tolist() == [0.0, 0.0]

    def test_nothing(self) -> None:
        assert len(score_series([], [])) == 0
