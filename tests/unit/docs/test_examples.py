"""The Python examples of the pages run as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import DOCS, ROOT, fences

LIBRARY = DOCS / "reference" / "library.md"


def test_there_are_examples() -> None:
    assert len(fences(LIBRARY, "python")) >= 6


@pytest.mark.parametrize("number", range(len(fences(LIBRARY, "python"))))
def test_examples_of_the_library_run(number: int) -> None:
    exec(compile(fences(LIBRARY, "python")[number], f"{LIBRARY.name} {number}", "exec"), {})


def test_the_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calm = [f"GET /item/{n} took {n * 37 % 900} ms" for n in range(3_000)]
    (tmp_path / "app.log").write_text("\n".join([*calm, "worker 7 lost its connection", *calm[:100]]))
    monkeypatch.chdir(tmp_path)
    (example,) = fences(ROOT / "README.md", "python")
    exec(compile(example, "README.md", "exec"), {})
    assert "lost its connection" in capsys.readouterr().out
