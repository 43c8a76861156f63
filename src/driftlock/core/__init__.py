"""Code lengths, calibration and tests: bytes, numbers and times in, values out. Synchronous and pure."""
