"""mypy and pyright, both strict, on what a user writes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = ["accepted.py", "refused.py"]


def run(*command: str) -> str:
    """What a checker of this environment prints; 1 says that it found errors."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=HERE, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def mypy(folder: Path) -> set[tuple[str, int]]:
    printed = run("mypy", "--strict", "--config-file=", f"--cache-dir={folder}", "--output=json", *FILES)
    found = [json.loads(line) for line in printed.splitlines()]
    return {(Path(error["file"]).name, error["line"]) for error in found if error["severity"] == "error"}


def pyright(folder: Path) -> set[tuple[str, int]]:
    project = folder / "pyrightconfig.json"
    files = [str(HERE / file) for file in FILES]
    project.write_text(json.dumps({"include": files, "typeCheckingMode": "strict"}))
    printed = run("basedpyright", "--outputjson", f"--pythonpath={sys.executable}", f"--project={project}")
    report = json.loads(printed)
    assert report["summary"]["filesAnalyzed"] == len(FILES)
    return {
        (Path(error["file"]).name, error["range"]["start"]["line"] + 1)
        for error in report["generalDiagnostics"]
        if error["severity"] == "error"
    }


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_the_checkers_refuse_what_is_wrong_and_nothing_else(
    checker: Callable[[Path], set[tuple[str, int]]], tmp_path: Path
) -> None:
    """The lines that are marked, which are the negative control, and no others."""
    lines = (HERE / "refused.py").read_text().splitlines()
    marked = {("refused.py", number) for number, line in enumerate(lines, 1) if line.endswith("# refused")}

    assert checker(tmp_path) == marked
