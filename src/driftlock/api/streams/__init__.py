"""Streams: what Driftlock learns, how far each is, and the smallest p-value it can reach."""
