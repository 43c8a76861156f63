"""Log lines of every process of Driftlock: text for people or JSON lines, on standard error."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import msgspec

_QUIET = ("asyncio", "nats", "numba", "httpx", "httpcore", "uvicorn")  # chatty below warning


def set_up_logging(*, process: str, level: str, form: str) -> None:
    """Send everything from `level` on to standard error, each line with the name of the process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process) if form == "json" else Text(process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))


class Text(logging.Formatter):
    """`time level process: message`."""

    def __init__(self, process: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s {process}: %(message)s")


class JsonLines(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, process, logger, message, and error if any."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()
