"""JetStream, the write-ahead log of telemetry. Knows nothing of HTTP."""
