"""Driftlock: anomaly detection for OpenTelemetry, measured in bits."""

__version__ = "0.1.0"
