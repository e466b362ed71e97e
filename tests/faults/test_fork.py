"""Forks while threads log: no child hangs, none loses an event, nothing of the parent is doubled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cipherlog_core.reading import recover
from forking import EVENTS
from oracle import RIGHT, judge

CHILDREN = 15
SCRIPT = Path(__file__).with_name("forking.py")
SMALL = {"LOG_QUEUE_MAX": "64", "LOG_ROTATE_SIZE": "200000", "LOG_BACKUPS": "0", "LOG_GZIP_AFTER": "0"}


@pytest.mark.parametrize("how", ["os", "handler", "multiprocessing"])
@pytest.mark.parametrize("children", [CHILDREN, pytest.param(120, marks=pytest.mark.soak)])
def test_forks_while_threads_log(children: int, how: str, tmp_path: Path) -> None:
    """Each child opens its own ring, and what it leaves there is brought in by others."""
    environment = {**os.environ, **SMALL, "LOG_DIR": str(tmp_path)}
    quiet = "-Wignore:This process:DeprecationWarning"  # 3.12 and later: forking beside threads is what is tested
    command = [sys.executable, quiet, str(SCRIPT), how, str(children)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    recover(str(tmp_path))

    acknowledged = json.loads(done.stdout) | {f"child {number}": EVENTS for number in range(children)}
    assert judge(tmp_path, acknowledged) == RIGHT


def test_a_fork_that_runs_no_hooks(tmp_path: Path) -> None:
    """A child forked from C has its own pid and ids all the same; Python's rule is that no other thread runs then."""
    code = """
import ctypes, os, cipherlog_core
logger = cipherlog_core.start("app")
logger.event("parent")
cipherlog_core.stop()
pid = ctypes.PyDLL(None).fork()
logger.event("child", expected_pid=os.getpid())
cipherlog_core.stop()
if not pid:
    os._exit(0)
os.waitpid(pid, 0)
"""
    environment = {**os.environ, "LOG_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, timeout=60, check=True)

    records = [json.loads(line) for line in (tmp_path / "app.jsonl").read_text().splitlines()]
    assert len({record["pid"] for record in records}) == 2
    assert len({record["id"][16:26] for record in records}) == 2
    assert all(record["pid"] == record["fields"].get("expected_pid", record["pid"]) for record in records)
