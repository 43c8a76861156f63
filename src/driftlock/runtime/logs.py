"""Log lines of every process of Driftlock: text for people or JSON lines, on standard error."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import msgspec

from driftlock.signals.redaction import CLASSES, redact

_QUIET = ("asyncio", "nats", "numba", "httpx", "httpcore", "uvicorn")  # chatty below warning


def set_up_logging(*, process: str, level: str, form: str, redacted: tuple[str, ...] = CLASSES) -> None:
    """Send everything from `level` on to standard error, each line with the name of the process.

    What libraries say may quote what they were given: every line goes without the classes `redacted`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process, redacted) if form == "json" else Text(process, redacted))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))


class Text(logging.Formatter):
    """`time level process: message`."""

    def __init__(self, process: str, redacted: tuple[str, ...] = CLASSES) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s {process}: %(message)s")
        self._redacted = redacted

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record), self._redacted)


class JsonLines(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, process, logger, message, and error if any."""

    def __init__(self, process: str, redacted: tuple[str, ...] = CLASSES) -> None:
        super().__init__()
        self._process = process
        self._redacted = redacted

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": redact(record.getMessage(), self._redacted),
        }
        if record.exc_info:
            line["error"] = redact(self.formatException(record.exc_info), self._redacted)
        return msgspec.json.encode(line).decode()
