"""Findings as rows of the database. Pure: the same finding always makes the same row, id included."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from driftlock import __version__
from driftlock.core.episode import Episode
from driftlock.core.verdict import Measures
from driftlock.engine.finding import Finding
from driftlock.engine.runs import ROW_BITS
from driftlock.storage.anomalies import Episode as EpisodeRow
from driftlock.storage.anomalies import NewAnomaly, anomaly_id

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(time_ns: int) -> datetime:
    """Nanoseconds since 1970 as a UTC time, to the microsecond that PostgreSQL keeps."""
    return EPOCH + timedelta(microseconds=time_ns // 1000)


def to_row(finding: Finding, *, partition: int) -> NewAnomaly:
    """The row of a finding. Measures that a signal does not have are null, never invented."""
    verdict, key = finding.verdict, finding.key
    timestamp = moment(finding.timestamp_ns)
    return NewAnomaly(
        id=anomaly_id(timestamp, finding.seed),
        tenant_id=key.tenant,
        timestamp=timestamp,
        stream_type=key.signal,
        stream=key.name,
        stream_id=key.id,
        service=key.service,
        severity=verdict.severity,
        p_value=verdict.p_value,
        confidence_level=1.0 - verdict.p_value,
        is_statistically_significant=True,
        surprise_bits=verdict.surprise_bits,
        glass_box_explanation=verdict.explanation,
        detailed_explanation=verdict.detail,
        baseline_ref=verdict.baseline_ref,
        window_start=moment(verdict.first_time_ns or finding.received_ns),
        window_end=moment(verdict.last_time_ns or finding.received_ns),
        log_position=finding.position,
        partition=partition,
        detector_version=__version__,
        config_version=finding.config_version,
        tags=[] if verdict.kind == "unit" else [verdict.kind],
        metadata=_metadata(finding),
        trace_ids=list(finding.trace_ids),
        episode=None if verdict.episode is None else episode_row(verdict.episode, timestamp),
        **_measures(verdict.measures),
    )


def episode_row(episode: Episode, timestamp: datetime) -> EpisodeRow:
    """An episode as it is stored; units without a time of their own end with the anomaly."""
    return EpisodeRow(
        open=episode.open,
        units=episode.units,
        window_end=moment(episode.last_time_ns) if episode.last_time_ns else timestamp,
        log_position=episode.last_event >> ROW_BITS,
        peak_score=episode.peak_score,
        lowest_p=episode.lowest_p,
    )


def _metadata(finding: Finding) -> dict[str, Any]:
    verdict = finding.verdict
    return {
        **finding.metadata,
        "kind": verdict.kind,
        "unit": verdict.key,
        "events": verdict.events,
        "score": verdict.score,
        "calibration_size": verdict.calibration_size,
        "attributes": dict(finding.key.attributes),
    }


def _measures(measures: Measures | None) -> dict[str, Any]:
    if measures is None:
        return {}
    change = measures.ratio_window / measures.ratio_baseline - 1.0 if measures.ratio_baseline else None
    return {
        "ncd_score": measures.ncd,
        "compression_baseline": measures.compression_baseline,
        "compression_window": measures.compression_window,
        "compression_combined": measures.compression_combined,
        "compression_ratio_baseline": measures.ratio_baseline,
        "compression_ratio_window": measures.ratio_window,
        "compression_ratio_change": change,
        "baseline_entropy": measures.baseline_entropy,
        "window_entropy": measures.window_entropy,
        "entropy_change": measures.window_entropy - measures.baseline_entropy,
    }
