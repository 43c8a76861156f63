"""PostgreSQL and NATS JetStream from PyPI wheels, as supervised children over one data folder."""

from driftlock.runtime.embedded.servers import EmbeddedServers, embedded_database_url

__all__ = ["EmbeddedServers", "embedded_database_url"]
