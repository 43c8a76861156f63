"""The stream registry: feeds the core from batches, bounds memory, checkpoints, and makes anomalies."""
