"""Loopback ports for the embedded servers."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable

from driftlock.errors import StartError

LOOPBACK = "127.0.0.1"

# Below the range that Linux gives to outgoing connections (from 32768): a client that keeps trying a port
# of that range while its server restarts can connect to itself, and then the server cannot have it back.
_FIRST, _LAST = 20_000, 32_000
_TRIES = 200


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(taken: Iterable[int] = (), *, source: random.Random | None = None) -> int:
    """A port of loopback that nobody listens on. Raises StartError when none is found."""
    source = source or random.SystemRandom()
    avoid = set(taken)
    for _ in range(_TRIES):
        port = source.randint(_FIRST, _LAST)
        if port not in avoid and is_free(port):
            return port
    raise StartError(f"No free port was found on {LOOPBACK} between {_FIRST} and {_LAST}.")
