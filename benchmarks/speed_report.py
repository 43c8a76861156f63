"""The results of `make bench` as Markdown tables. Pure: results in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

ROLES = ("collector", "detector", "nats", "postgres", "api", "supervisor", "load generator")


def tables(results: dict[str, Any]) -> str:
    """Every table for which there are results."""
    parts = [_machine(results["machine"])]
    throughput = list(results.get("throughput", {}).values())
    if throughput:
        parts += [_rates(throughput), _cpu(throughput), _busiest(throughput), _memory(throughput)]
    if "delay" in results:
        parts.append(_delays(results["delay"]))
    parts += [_score(score) for score in (*results.get("score", []), *results.get("path", []))]
    return "\n\n".join(parts)


def _machine(machine: dict[str, Any]) -> str:
    return (
        f"{machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, "
        f"Python {machine['python']}, load before {machine['load_before']:.1f}"
    )


def _rates(throughput: Iterable[dict[str, Any]]) -> str:
    rows = []
    for found in throughput:
        rate, runs = found["records_a_second"], found["runs"]
        rows.append(
            [
                found["kind"],
                f"{found['streams']:,}",
                f"{rate['median']:,.0f}",
                f"{rate['least']:,.0f} to {rate['most']:,.0f}",
                f"{sum(run['wall_s'] for run in runs) / len(runs):.1f}",
                str(sum(run["refused"] for run in runs)),
            ]
        )
    heads = ["signal", "streams", "records/s", "of the runs", "s a run", "refused"]
    return _table("Client to committed verdict", heads, rows)


def _cpu(throughput: Iterable[dict[str, Any]]) -> str:
    rows = []
    for found in throughput:
        spent = found["cpu_s_a_million_records"]
        own = sum(seconds for role, seconds in spent.items() if role != "load generator")
        shares = [f"{spent.get(role, 0.0):.1f}" for role in ROLES]
        rows.append([found["kind"], f"{found['streams']:,}", *shares, f"{own:.1f}"])
    heads = ["signal", "streams", *ROLES, "Driftlock in all"]
    return _table("CPU seconds a million records", heads, rows)


def _busiest(throughput: Iterable[dict[str, Any]]) -> str:
    rows = []
    for found in throughput:
        last = found["runs"][-1]["busiest"]
        told = ", ".join(f"{role} {share:.0%}" for role, share in last if share >= 0.02)
        rows.append([found["kind"], f"{found['streams']:,}", told])
    return _table("Share of one core by process, last run", ["signal", "streams", "processes"], rows)


def _memory(throughput: Iterable[dict[str, Any]]) -> str:
    rows = []
    for found in throughput:
        phases = ", ".join(f"{count:,} {phase}" for phase, count in found["phases"].items())
        rows.append(
            [
                found["kind"],
                f"{found['streams']:,}",
                phases,
                f"{found['state_bytes_a_stream'] / 1024:.1f}",
                f"{found['detector_growth_bytes_a_stream'] / 1024:.1f}",
            ]
        )
    heads = ["signal", "streams", "phase", "state, KiB a stream", "growth of detectors, KiB a stream"]
    return _table("Memory", heads, rows)


def _delays(delays: Iterable[dict[str, Any]]) -> str:
    rows = [
        [
            f"{found['background']:,.0f}",
            f"{found['reported']} of {found['sent']}",
            f"{found['p50_ms']:.0f}",
            f"{found['p99_ms']:.0f}",
            f"{found['max_ms']:.0f}",
        ]
        for found in delays
    ]
    heads = ["background, records/s", "reported", "p50, ms", "p99, ms", "max, ms"]
    return _table("From send to the event of its anomaly", heads, rows)


def _score(score: dict[str, Any]) -> str:
    rows = [
        [
            f"`{name}`",
            f"{found['lines_a_second']:,.0f}",
            f"{found['wall_s']:.2f} ({found['least_s']:.2f} to {found['most_s']:.2f})",
            f"{found['cpu_s']:.2f}",
            f"{score['lines'] / found['cpu_s']:,.0f}",
            f"{found['times_zstd']:.1f}",
        ]
        for name, found in score["commands"].items()
    ]
    heads = ["command", "lines/s", "wall, s", "CPU, s", "lines a CPU s", "times zstd"]
    title = f"Files: {score['source']}, {score['lines']:,} lines, {score['bytes'] / 1e6:.1f} MB"
    return _table(title, heads, rows)


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"**{title}**", "", _row(heads), _row(["---"] * len(heads))]
    return "\n".join([*lines, *map(_row, rows)])


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
