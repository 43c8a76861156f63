"""The log that the whole path is measured on: longer, with more sessions and no other lines."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.speed_path import SESSION, write_rounds
from driftlock.signals.textlog import text_batch

LOG = b"081109 203530 148 INFO Receiving blk_-16 src: /10.0.0.1\n081109 203531 9 INFO took blk_16, blk_7"


def test_rounds_have_sessions_of_their_own_and_the_same_lines(tmp_path: Path) -> None:
    path = tmp_path / "rounds.log"
    assert write_rounds(path, LOG, 3) == 6
    written = path.read_bytes()
    assert written.startswith(LOG + b"\n")
    assert len(set(re.findall(SESSION.encode(), written))) == 3 * 3
    templates = text_batch(written).templates.tolist()
    assert templates == templates[:2] * 3
