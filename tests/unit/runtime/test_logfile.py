"""Log files of the servers: bounded, and read for the reason of a failure."""

from __future__ import annotations

import errno
import json
import logging
from pathlib import Path

from driftlock.runtime.embedded.logfile import bound, fault_in, tail
from driftlock.runtime.logs import JsonLines


def test_a_grown_log_is_moved_while_its_writer_keeps_it_open(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"x" * 100)
        assert not bound(path, bytes_max=100)
        writer.write(b"y")
        assert bound(path, bytes_max=100)
        writer.write(b"after")
    assert path.read_bytes() == b"after"
    assert (tmp_path / "server.log.1").stat().st_size == 101


def test_a_missing_log_is_no_fault(tmp_path: Path) -> None:
    assert not bound(tmp_path / "none")
    assert tail(tmp_path / "none") == ""


def test_tail_reads_from_a_mark_and_at_most_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text("before\nafter\n")
    assert tail(path, since=7) == "after\n"
    path.write_bytes(b"z" * 1_000_000)
    assert len(tail(path)) == 64 * 1024


def test_words_of_servers_name_faults() -> None:
    assert fault_in("FATAL: could not write: No space left on device") == errno.ENOSPC
    assert fault_in("mkdir: Permission denied") == errno.EACCES
    assert fault_in("FATAL: something else") is None


def test_json_lines_are_one_object_a_line() -> None:
    record = logging.LogRecord("a.b", logging.WARNING, "", 0, "two\nlines %s", ("é",), None)
    line = JsonLines("api").format(record)
    told = json.loads(line)
    assert "\n" not in line
    assert (told["message"], told["level"], told["process"]) == ("two\nlines é", "warning", "api")
