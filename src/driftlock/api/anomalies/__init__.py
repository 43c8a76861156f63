"""Anomalies: list, read, report from elsewhere, change the status."""
