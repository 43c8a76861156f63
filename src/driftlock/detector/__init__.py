"""The detector role: owns partitions, scores their telemetry, writes anomalies and checkpoints."""
