"""A burst, and a clock that jumps in the middle of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import content

from cipherlog_core.reading import segments
from oracle import RIGHT, judge

soak = pytest.mark.soak

BURST = """
import sys, threading, cipherlog_core
logger = cipherlog_core.start("app")
def work(name, count):
    for seq in range(count):
        assert logger.event("numbered", producer=name, seq=seq)
for name in "abcd":
    threading.Thread(target=work, args=(name, int(sys.argv[1]))).start()
"""


@pytest.mark.parametrize("each", [1_000, pytest.param(25_000, marks=soak)])
def test_a_burst_of_four_threads(each: int, tmp_path: Path) -> None:
    """And a normal end without a stop: all of it is there."""
    names = {"LOG_DIR": str(tmp_path), "LOG_BACKUPS": "0", "LOG_ROTATE_SIZE": "1MB"}
    command = [sys.executable, "-W", "error", "-c", BURST, str(each)]
    done = subprocess.run(command, env={**os.environ, **names}, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert judge(tmp_path, dict.fromkeys("abcd", each)) == RIGHT


CLOCK = """
import json, sys, time
real, shift = time.time_ns, 0
time.time_ns = lambda: real() + shift * 1_000_000_000
time.time = lambda: time.time_ns() / 1e9
gmtime = time.gmtime
time.gmtime = lambda seconds=None: gmtime(time.time() if seconds is None else seconds)
import cipherlog_core
logger = cipherlog_core.start("app")
for seq in range(200):
    if seq % 20 == 0:
        shift = json.loads(sys.argv[1])[seq // 20]
    assert logger.event("numbered", producer="a", seq=seq, text="x" * 100)
    cipherlog_core.flush()
assert cipherlog_core.stop()
stats = cipherlog_core.stats()
assert not stats.dropped and not stats.errors, stats
print(stats.rotations)
"""
DAY = 86_400


@pytest.mark.parametrize(
    ("shifts", "when", "most"),
    [
        ([0, -DAY, 0, -30 * DAY, DAY, 0, 40 * DAY, -DAY, 3600, 0], "midnight", 9),
        pytest.param([0, -3600, 0, -3600, 0, -3600, 0, -3600, 0, -3600], "hour", 9, marks=soak),
        pytest.param([0, 0, 0, 0, 0, 0, 0, -10 * DAY, -400 * DAY, -8000 * DAY], "hour", 3, marks=soak),
        pytest.param([-DAY] * 10, None, 0, marks=soak),
    ],
)
def test_a_clock_that_jumps(shifts: list[int], when: str | None, most: int, tmp_path: Path) -> None:
    """Forward, back, over a year: each event once, in order, under names that are given once; few files."""
    names = {"LOG_DIR": str(tmp_path), "LOG_BACKUPS": "0", "LOG_GZIP_AFTER": "0"} | (
        {"LOG_ROTATE_WHEN": when} if when else {}
    )
    command = [sys.executable, "-W", "error", "-c", CLOCK, json.dumps(shifts)]
    done = subprocess.run(command, env={**os.environ, **names}, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) <= most
    assert judge(tmp_path, {"a": 200}) == RIGHT
    lines = [line for path in segments(str(tmp_path), "app.jsonl") for line in content(path).split(b"\n") if line]
    assert [json.loads(line)["fields"]["seq"] for line in lines] == list(range(200))
