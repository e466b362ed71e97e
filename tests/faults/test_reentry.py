"""The logger called from fork hooks, its own sinks, and while others configure or stop it: no hang, nothing lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cipherlog_core.reading import recover
from oracle import RIGHT, judge_kept
from reentered import HOW

SCRIPT = Path(__file__).with_name("reentered.py")
SMALL = {"LOG_QUEUE_MAX": "64", "LOG_BACKUPS": "0", "LOG_ROTATE_SIZE": "200000", "LOG_GZIP": "false"}
AGAIN = 20
FEW = {"forks", "console", "stops"}


@pytest.mark.parametrize(
    ("how", "times"),
    [*((how, 1) for how in HOW if how in FEW), *(pytest.param(how, AGAIN, marks=pytest.mark.soak) for how in HOW)],
)
def test_the_logger_called_from_anywhere(how: str, times: int, tmp_path: Path) -> None:
    """The process ends by itself, within the 5 s of its watchdog after a fraction of a second's work."""
    for number in range(times):
        folder = tmp_path / str(number)
        names = {"LOG_DIR": str(folder), **SMALL, **({"LOG_CONSOLE": "stderr"} if how.startswith("console") else {})}
        quiet = "-Wignore:This process:DeprecationWarning"  # 3.12 and later: forking beside threads is what is tested
        command = [sys.executable, "-W", "error", quiet, SCRIPT, how]
        done = subprocess.run(
            command, env={**os.environ, **names}, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        recover(str(folder))
        kept = {(name, int(seq)) for name, seq in (line.rsplit(" ", 1) for line in done.stdout.splitlines())}

        assert len(kept) >= 20
        assert judge_kept(folder, kept) == RIGHT
        assert sum(name == "stream" for name, _ in kept) <= 100  # it meets what it logged with the next batch only
        if how == "dictConfig":
            last = sum(path.read_text().count('"message":"last"') for path in folder.glob("*.jsonl"))
            assert last == 1
