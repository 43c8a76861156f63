"""The collector role: OTLP over gRPC and HTTP, acknowledged once the log has it."""
