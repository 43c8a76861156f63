"""`driftlock score` and `driftlock detect` as a person runs them, on a real log when it is at hand."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

SHARED = Path(__file__).parents[3] / "shared"
HDFS = SHARED / "data" / "hdfs"
LOGHUB = SHARED / "data" / "loghub"
JUDGE = SHARED / "bench" / "session_score.py"

pytestmark = pytest.mark.slow


def driftlock(*arguments: str, given: bytes | None = None, **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "driftlock", *arguments],
        input=given,
        capture_output=True,
        timeout=280,
        env={**os.environ, **env},
        check=False,
    )


def provoked_log(tmp_path: Path, *, faults: bool) -> tuple[Path, list[int]]:
    """A real program's log: the interpreter's own import trace, some imports failing midway."""
    script = """
import importlib, logging, random, sys
logging.basicConfig(stream=sys.stdout, level=logging.DEBUG, format="%(asctime)s %(levelname)s %(message)s")
log, rng = logging.getLogger("importer"), random.Random(7)
names = ["json", "csv", "gzip", "decimal", "fractions", "email", "wave", "zipfile"]
for turn in range(1500):
    name = rng.choice(names)
    log.info("importing %s, turn %d", name, turn)
    try:
        if FAULTS and turn in (1200, 1201):
            name = "no_such_module_%d" % turn
        module = importlib.import_module(name)
        log.debug("imported %s with %d names", name, len(dir(module)))
    except ImportError:
        log.exception("import of %s failed", name)
"""
    written = subprocess.run(
        [sys.executable, "-c", script.replace("FAULTS", str(faults))],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    path = tmp_path / "importer.log"
    path.write_bytes(written)
    lines = written.splitlines()
    return path, [n for n, line in enumerate(lines, 1) if b"failed" in line or b"Error" in line]


def test_detect_finds_the_provoked_fault_and_its_status_serves_scripts(tmp_path: Path) -> None:
    path, faulty = provoked_log(tmp_path, faults=True)
    found = driftlock("detect", str(path), "--format", "json")
    assert found.returncode == 10, found.stderr
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert any(row["first_line"] <= faulty[0] <= row["last_line"] for row in rows)
    assert "ModuleNotFoundError" in json.dumps([row["detail"]["lines"] for row in rows])
    assert len(rows) <= 3
    assert b"lines/s" in found.stderr
    again = driftlock("detect", str(path), "--format", "json")
    assert again.stdout == found.stdout, "the same input gives the same anomalies, bit for bit"
    packed = driftlock("detect", "-", "--format", "json", given=gzip.compress(path.read_bytes()))
    strip = [{**row, "file": "-"} for row in rows]
    assert [json.loads(line) for line in packed.stdout.splitlines()] == strip


def test_following_a_pipe_shows_the_fault_as_it_comes(tmp_path: Path) -> None:
    path, _ = provoked_log(tmp_path, faults=True)
    found = driftlock("detect", "-", "--follow", "--format", "json", given=path.read_bytes())
    assert found.returncode == 10, found.stderr
    assert b"ModuleNotFoundError" in found.stdout


def test_colour_is_shown_where_wanted_and_never_with_no_color(tmp_path: Path) -> None:
    path, _ = provoked_log(tmp_path, faults=True)
    assert b"\x1b[" in driftlock("detect", str(path), FORCE_COLOR="1").stdout
    plain = driftlock("detect", str(path), FORCE_COLOR="1", NO_COLOR="1").stdout
    assert b"\x1b[31m" not in plain
    assert b"\x1b[1;31m" not in plain
    assert b"\x1b[1;4;31m" not in plain
    assert b"in none of" in plain.replace(b"\n  ", b"")


def test_faults_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "some.log"
    path.write_text("a line\n")
    wrong = driftlock("detect", str(tmp_path / "none.log"))
    assert wrong.returncode == 3
    assert b"Traceback" not in wrong.stderr
    assert wrong.stderr.startswith(b"driftlock: ")
    assert driftlock("detect", str(path), "--session", "(").returncode == 2


def load_judge() -> ModuleType:
    spec = importlib.util.spec_from_file_location("session_score", JUDGE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def hdfs_report() -> dict[str, Any]:
    printed = driftlock("score", str(HDFS / "hdfs-dev.log.gz"), "--session", r"blk_-?\d+")
    assert printed.returncode == 0, printed.stderr
    rows = [json.loads(line) for line in printed.stdout.splitlines()]
    labels = dict(
        line.split(",") for line in (HDFS / "hdfs-dev-labels.csv").read_text().splitlines()[1:] if line
    )
    judged: dict[str, Any] = load_judge().judge(
        np.array([row["score"] for row in rows]),
        np.array([row["p_value"] for row in rows]),
        np.array([labels[row["unit"]].strip() == "Anomaly" for row in rows]),
    )
    judged["left_out"] = len(labels) - len(rows)
    return judged


@pytest.mark.skipif(not HDFS.exists(), reason="the HDFS log of ../shared/data is not here")
def test_hdfs_blocks_are_ranked_and_their_p_values_hold() -> None:
    report = hdfs_report()
    assert report["left_out"] == 576
    assert report["auc"] >= 0.995
    assert report["recall_at_1pct_false_positives"] >= 0.97
    assert report["anomalous_found_at_0.05"] >= 0.9
    for alpha in (0.05, 0.01, 0.001):
        assert report[f"normal_flagged_at_{alpha}"] <= 1.2 * alpha


@pytest.mark.skipif(not LOGHUB.exists(), reason="the logs of ../shared/data are not here")
def test_stationary_real_logs_are_not_flagged(tmp_path: Path) -> None:
    """Blocks of real logs in shuffled order are exchangeable: what is flagged then is a false alarm."""
    rng = np.random.default_rng(11)
    p_values: list[float] = []
    for path in sorted(LOGHUB.glob("*.log")):
        lines = path.read_text(errors="replace").splitlines()
        blocks = [lines[at : at + 10] for at in range(0, len(lines) - 9, 10)]
        shuffled = [line for block in rng.permutation(len(blocks)) for line in blocks[block]]
        copy = tmp_path / path.name
        copy.write_text("\n".join(shuffled) + "\n")
        printed = driftlock("score", str(copy), "--window", "10", "--hop", "10")
        p_values += [json.loads(line)["p_value"] for line in printed.stdout.splitlines()]
    p = np.array(p_values)
    assert len(p) >= 8 * 150
    assert (p <= 0.05).mean() <= 1.2 * 0.05
    assert (p <= 0.01).mean() <= 1.2 * 0.01
