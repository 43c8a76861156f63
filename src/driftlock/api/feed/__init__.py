"""The live feed of anomalies and status changes as Server-Sent Events."""
