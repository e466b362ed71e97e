"""The Nth call for a log fails, or all from the Nth on for a while: nothing raises, nothing is lost uncounted."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from failing import EVENTS
from oracle import RIGHT, Verdict, judge_kept

SEED = 20261125
ERRORS = ["EIO", "ENOSPC", "EACCES", "EMFILE", "EROFS"]
NUMBERS = range(1, 61)
SCRIPT = Path(__file__).with_name("failing.py")
FEW = 4
soak = pytest.mark.soak


def failing(how: str, numbers: list[int], error: str, folder: Path) -> tuple[list[dict[str, Any]], str]:
    """What each number's run tells, and what was said on stderr."""
    command = [sys.executable, "-W", "error", SCRIPT, folder, error, how, *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def chosen(count: int, error: str) -> list[int]:
    """So many of the numbers, others for each error."""
    print(f"seed {SEED} {error}")
    return sorted(random.Random(f"{SEED} {error}").sample(NUMBERS, count))


def verdict(facts: dict[str, Any], folder: Path) -> Verdict:
    return judge_kept(folder / str(facts["at"]), {("a", seq) for seq in facts["kept"]})


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("count", [FEW, pytest.param(60, marks=soak)])
def test_one_call_fails(count: int, error: str, tmp_path: Path) -> None:
    """For N of 1 to 60: no crash, at most the event under way refused, and that counted; stderr stays short."""
    numbers = chosen(count, error)
    rows, told = failing("once", numbers, error, tmp_path)

    assert [row["at"] for row in rows] == numbers
    assert {row["failed"] for row in rows} == {1}
    assert all(row["stopped"] and row["dropped"] == EVENTS - len(row["kept"]) <= 1 for row in rows)
    assert [row["at"] for row in rows if verdict(row, tmp_path) != RIGHT] == []
    assert len({row["call"] for row in rows}) >= (2 if count == FEW else 7)
    assert told.count("\n") <= 10


@pytest.mark.parametrize(
    ("error", "count"), [("EIO", 1), ("ENOSPC", 1), *(pytest.param(error, 60, marks=soak) for error in ERRORS)]
)
def test_all_calls_fail_for_a_while(error: str, count: int, tmp_path: Path) -> None:
    """From the Nth on. What came meanwhile is in the log within a second of the end of it."""
    numbers = chosen(count, error)
    rows, told = failing("outage", numbers, error, tmp_path)

    assert [row["at"] for row in rows] == numbers
    assert all(row["stopped"] and row["dropped"] == EVENTS - len(row["kept"]) == 0 for row in rows)
    assert [row["at"] for row in rows if verdict(row, tmp_path) != RIGHT] == []
    assert max(row["late"] for row in rows) <= 1
    assert any(row["failed"] > 1 for row in rows)
    assert told.count("\n") <= 10


def test_a_writer_that_forgets_what_failed_is_caught(tmp_path: Path) -> None:
    """The negative control."""
    rows, _ = failing("control", [1, 2, 3], "EIO", tmp_path)

    assert all(verdict(row, tmp_path).missing for row in rows)


ROTATES = """
import cipherlog_core
logger = cipherlog_core.start("app")
for seq in range(400):
    assert logger.event("numbered", producer="a", seq=seq, text="x" * 300)
    if not seq % 10:
        cipherlog_core.flush()
assert cipherlog_core.stop()
stats = cipherlog_core.stats()
assert stats.errors and not stats.dropped
"""


@pytest.mark.parametrize(
    "inject",
    [
        "rename:error=EACCES:when=2..3",  # the first is that of the ring; then two of segments
        "write:error=ENOSPC:when=3..12",
        pytest.param("write:error=EIO:when=2+3", marks=soak),
        pytest.param("pwrite64:error=EIO:when=4+7", marks=soak),
        pytest.param("fsync:error=EIO", marks=soak),
    ],
)
def test_the_kernel_fails_calls(inject: str, tmp_path: Path) -> None:
    """The same by the kernel's own hand, under strace."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    settings = {"LOG_DIR": str(tmp_path / "logs"), "LOG_ROTATE_SIZE": "20000", "LOG_BACKUPS": "0", "LOG_FSYNC_MS": "5"}
    traced = [strace, "-f", "-qq", "-o", tmp_path / "trace", "-e", f"inject={inject}", "-e", "signal=none"]
    command = [*traced, sys.executable, "-c", ROTATES]
    environment = {**os.environ, **settings}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    if "PTRACE" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")

    assert done.returncode == 0, done.stderr
    assert "(INJECTED)" in (tmp_path / "trace").read_text()
    assert judge_kept(tmp_path / "logs", {("a", seq) for seq in range(400)}) == RIGHT
    assert done.stderr.count("\n") <= 3
