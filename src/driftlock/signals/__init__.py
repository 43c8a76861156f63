"""OTLP bytes to columnar batches, stream keys, and the canonical form. The only importer of protobuf."""
