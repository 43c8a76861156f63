"""Measurements of Driftlock: speed (`make bench`) and quality of detection (`make bench-detection`)."""
