"""PostgreSQL and NATS JetStream from PyPI wheels, as supervised children over one data folder."""

from driftlock.runtime.embedded.servers import EmbeddedServers

__all__ = ["EmbeddedServers"]
