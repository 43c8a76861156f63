"""Checkpoints, partitions, streams, baselines, configuration, keys and idempotency on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import math
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from driftlock.storage import baselines, checkpoints, config, idempotency, keys, partitions, pool, streams
from driftlock.storage.baselines import NewBaseline, content_hash
from driftlock.storage.checkpoints import BATCH_BYTES_MAX, Checkpoint, StreamState
from driftlock.storage.errors import ConflictError, FencedError, InvalidValueError, NotFoundError
from driftlock.storage.keys import SCOPE_WRITE_ANOMALIES
from driftlock.storage.streams import StreamFilter, StreamRow

NOW = datetime(2026, 3, 4, tzinfo=UTC)


def state(number: int, content: bytes = b"s") -> StreamState:
    return StreamState(uuid.UUID(int=number), "logs", content)


async def save(
    conn: asyncpg.Connection, position: int, states: list[StreamState], removed: list[uuid.UUID] | None = None
) -> None:
    async with conn.transaction():
        await checkpoints.save(
            conn, 3, position=position, received_ns=position * 10, states=states, removed=removed or []
        )


class TestCheckpoints:
    async def test_saves_changes_and_removals(self, conn: asyncpg.Connection) -> None:
        assert await checkpoints.load(conn, 3) is None
        await save(conn, 5, [state(1), state(2), state(3)])
        await save(conn, 9, [state(2, b"new")], removed=[uuid.UUID(int=3)])
        assert await checkpoints.load(conn, 3) == Checkpoint(9, 90)
        assert await checkpoints.load_states(conn, 3) == [state(1), state(2, b"new")]
        assert await checkpoints.load(conn, 4) is None
        assert await checkpoints.load_states(conn, 4) == []

    async def test_a_removed_stream_may_return_at_once(self, conn: asyncpg.Connection) -> None:
        await save(conn, 5, [state(1)])
        await save(conn, 6, [state(1, b"again")], removed=[uuid.UUID(int=1)])
        assert await checkpoints.load_states(conn, 3) == [state(1, b"again")]

    async def test_never_moves_backwards(self, conn: asyncpg.Connection) -> None:
        await save(conn, 5, [state(1)])
        with pytest.raises(FencedError, match="beyond position 4"):
            await save(conn, 4, [state(1, b"old")])
        await save(conn, 5, [])
        assert await checkpoints.load(conn, 3) == Checkpoint(5, 50)
        assert await checkpoints.load_states(conn, 3) == [state(1)]

    async def test_is_nothing_without_its_transaction(self, conn: asyncpg.Connection) -> None:
        transaction = conn.transaction()
        await transaction.start()
        await checkpoints.save(conn, 3, position=5, received_ns=1, states=[state(1)], removed=[])
        await transaction.rollback()
        assert await checkpoints.load(conn, 3) is None
        assert await checkpoints.load_states(conn, 3) == []

    async def test_large_states_go_in_several_statements(self, conn: asyncpg.Connection) -> None:
        big = [state(number, bytes([number]) * (BATCH_BYTES_MAX // 2 - 1)) for number in range(1, 6)]
        assert [len(batch) for batch in checkpoints.batches(big)] == [2, 2, 1]
        await save(conn, 5, big)
        assert await checkpoints.load_states(conn, 3) == big


class TestPartitions:
    async def test_one_owner_at_a_time(self, conn: asyncpg.Connection, database_url: str) -> None:
        other = await pool.connect(database_url, name="other")
        assert await partitions.try_claim(conn, 7)
        assert not await partitions.try_claim(other, 7)
        assert await partitions.try_claim(other, 8)
        assert set(await partitions.owned(conn)) == {7, 8}
        assert await partitions.release(conn, 7)
        assert await partitions.try_claim(other, 7)
        await other.close()

    async def test_a_dead_owner_loses_its_claims(self, conn: asyncpg.Connection, database_url: str) -> None:
        other = await pool.connect(database_url, name="other")
        assert await partitions.try_claim(other, 7)
        other.terminate()
        async with asyncio.timeout(30):
            while not await partitions.try_claim(conn, 7):
                await asyncio.sleep(0.01)


class TestStreams:
    async def test_upserts_and_pages(self, conn: asyncpg.Connection) -> None:
        rows = [
            StreamRow(
                id=uuid.UUID(int=n),
                signal="logs" if n % 2 else "metrics",
                name=f"s{n // 2}",  # names are shared: the id decides between them
                service="a",
                partition=1,
                phase="learning",
                attributes={"\0": "\ud800"},
                earliest_p=math.nan,
            )
            for n in range(20)
        ]
        await streams.upsert(conn, rows)
        ready = StreamRow(
            id=rows[0].id, signal="metrics", name="s0", service="a", partition=1, phase="ready",
            units_seen=5, earliest_p=0.01, last_event_at=NOW, bytes_held=99,
        )  # fmt: skip
        await streams.upsert(conn, [ready])
        found = await streams.get(conn, rows[0].id)
        assert (found.phase, found.units_seen, found.earliest_p) == ("ready", 5, 0.01)
        assert (found.last_event_at, found.bytes_held) == (NOW, 99)
        assert (await streams.get(conn, rows[1].id)).attributes == {"\ufffd": "\ufffd"}
        everything = await streams.page(conn, StreamFilter(), limit=100)
        assert [(s.name, s.id) for s in everything] == sorted((s.name, s.id) for s in everything)
        paged, after = [], None
        while page := await streams.page(conn, StreamFilter(), limit=3, after=after):
            paged += page
            after = (page[-1].name, page[-1].id)
        assert paged == everything
        assert await streams.count(conn, StreamFilter(signal=("metrics",), phase=("ready",))) == 1
        assert await streams.count(conn, StreamFilter(tenant_id="other")) == 0
        await streams.remove(conn, [rows[0].id])
        with pytest.raises(NotFoundError):
            await streams.get(conn, rows[0].id)

    async def test_an_older_last_event_does_not_win(self, conn: asyncpg.Connection) -> None:
        for moment in (NOW, NOW - timedelta(days=1), None):
            row = StreamRow(
                id=uuid.UUID(int=1), signal="logs", name="s", service="s", partition=1, phase="ready",
                last_event_at=moment,
            )  # fmt: skip
            await streams.upsert(conn, [row])
        assert (await streams.get(conn, uuid.UUID(int=1))).last_event_at == NOW


class TestBaselines:
    async def test_content_is_stored_once_under_its_hash(self, conn: asyncpg.Connection) -> None:
        content = bytes(range(256))
        row = NewBaseline(sha256=content_hash(content), content=content, stream_id=uuid.UUID(int=1))
        await baselines.save(conn, [row])
        await baselines.save(conn, [row])
        found = await baselines.load(conn, row.sha256)
        assert found is not None
        assert (found.content, found.stream_id) == (content, row.stream_id)
        assert await baselines.load(conn, row.sha256, tenant_id="other") is None

    async def test_a_wrong_name_is_refused(self, conn: asyncpg.Connection) -> None:
        with pytest.raises(InvalidValueError, match="does not hash"):
            await baselines.save(
                conn, [NewBaseline(sha256="00" * 32, content=b"x", stream_id=uuid.UUID(int=1))]
            )


class TestConfig:
    async def test_version_one_is_there(self, conn: asyncpg.Connection) -> None:
        active = await config.active(conn)
        assert active.version == 1
        assert active.baseline_size >= active.window_size >= active.hop_size

    async def test_settings_make_a_version_when_they_differ_and_people_keep_theirs(
        self, conn: asyncpg.Connection
    ) -> None:
        def wanted(budget: float) -> config.Wanted:
            return config.Wanted(0.01, 400, 50, 25, {"profile": "custom", "alert_budget": budget})

        first = await config.settle(conn, wanted(3.0))
        assert (first.version, first.settings) == (2, {"profile": "custom", "alert_budget": 3.0})
        assert await config.settle(conn, wanted(3.0)) == first
        second = await config.settle(conn, wanted(4.0))
        assert (second.version, second.settings["alert_budget"]) == (3, 4.0)
        await conn.execute("UPDATE detection_config SET created_by = 'ann' WHERE active")
        assert (await config.settle(conn, wanted(3.0))).version == 3

    async def test_two_active_versions_are_impossible(self, conn: asyncpg.Connection) -> None:
        with pytest.raises(asyncpg.UniqueViolationError):
            await conn.execute(
                "INSERT INTO detection_config (version, active, ncd_threshold, p_value_threshold,"
                " baseline_size, window_size, hop_size) VALUES (2, true, 0.3, 0.05, 400, 50, 25)"
            )


class TestKeys:
    async def test_life_of_a_key(self, conn: asyncpg.Connection) -> None:
        secret, key = await keys.create(conn, "ci", "analyst", [SCOPE_WRITE_ANOMALIES], None, 7)
        assert secret.startswith(key.prefix)
        found = await keys.verify(conn, secret)
        assert found is not None
        assert (found.id, found.role, found.scopes, found.rate_limit_per_minute) == (
            key.id, "analyst", [SCOPE_WRITE_ANOMALIES], 7,
        )  # fmt: skip
        assert (await keys.list_keys(conn))[0].last_used_at is not None
        await keys.revoke(conn, key.id)
        assert await keys.verify(conn, secret) is None
        with pytest.raises(NotFoundError):
            await keys.revoke(conn, key.id)
        await keys.create(conn, "ci", "viewer")  # a revoked key gives its name free

    async def test_the_secret_is_stored_nowhere(self, conn: asyncpg.Connection) -> None:
        secret, _ = await keys.create(conn, "ci", "viewer")
        row = await conn.fetchval("SELECT api_keys::text FROM api_keys")
        assert secret[13:] not in row

    @pytest.mark.parametrize("wrong", ["", "dlk_", "dlk_" + "x" * 43, "x" * 500, "dlk_\0", "dlk_\ud800"])
    async def test_nobodys_secret_is_nobodys(self, conn: asyncpg.Connection, wrong: str) -> None:
        await keys.create(conn, "ci", "viewer")
        assert await keys.verify(conn, wrong) is None

    async def test_an_expired_key_is_nobodys(self, conn: asyncpg.Connection) -> None:
        secret, _ = await keys.create(conn, "ci", "viewer", (), datetime.now(UTC) - timedelta(seconds=1))
        assert await keys.verify(conn, secret) is None

    async def test_refuses_what_makes_no_sense(self, conn: asyncpg.Connection) -> None:
        await keys.create(conn, "ci", "viewer")
        with pytest.raises(ConflictError):
            await keys.create(conn, "ci", "viewer")
        with pytest.raises(InvalidValueError, match="Unknown scope"):
            await keys.create(conn, "other", "viewer", ["everything"])
        for name, role, limit in (("", "viewer", None), ("x", "god", None), ("x", "viewer", 0)):
            with pytest.raises(InvalidValueError):
                await keys.create(conn, name, role, (), None, limit)  # type: ignore[arg-type]


class TestIdempotency:
    async def claim(self, conn: asyncpg.Connection, request: bytes, made: uuid.UUID) -> uuid.UUID | None:
        return await idempotency.claim(conn, "k", owner="me", request_hash=request, anomaly=made)

    async def test_the_first_claim_wins(self, conn: asyncpg.Connection) -> None:
        first, second = uuid.uuid4(), uuid.uuid4()
        async with conn.transaction():
            assert await self.claim(conn, b"r", first) is None
        async with conn.transaction():
            assert await self.claim(conn, b"r", second) == first
        with pytest.raises(ConflictError):
            async with conn.transaction():
                await self.claim(conn, b"other", second)

    async def test_a_concurrent_claim_waits_for_the_outcome(
        self, conn: asyncpg.Connection, database_url: str
    ) -> None:
        other = await pool.connect(database_url, name="other")
        first, second = uuid.uuid4(), uuid.uuid4()

        async def compete() -> uuid.UUID | None:
            async with other.transaction():
                return await self.claim(other, b"r", second)

        async with conn.transaction():
            await self.claim(conn, b"r", first)
            rival = asyncio.create_task(compete())
            done, _ = await asyncio.wait({rival}, timeout=0.1)
            assert not done
        assert await rival == first
        await other.close()
