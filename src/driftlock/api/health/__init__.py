"""Liveness, readiness, version, metrics: what operators and their machines ask, without a key."""
