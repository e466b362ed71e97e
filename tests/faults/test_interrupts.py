"""Signals and finalisers in the middle of our code: nothing hangs, nothing is lost, doubled or torn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cipherlog_core.reading import recover
from oracle import read

SMALL = {"LOG_QUEUE_MAX": "64", "LOG_ROTATE_SIZE": "200000", "LOG_BACKUPS": "0", "LOG_GZIP_AFTER": "0"}
INTERRUPTS = 500
SCRIPT = Path(__file__).with_name("interrupted.py")


def interrupted(mode: str, folder: Path) -> dict[str, Any]:
    environment = {**os.environ, **SMALL, "LOG_DIR": str(folder)}
    command = [sys.executable, "-W", "error", str(SCRIPT), mode, str(INTERRUPTS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    told = [line for line in done.stderr.splitlines() if "the next start in that folder writes them" not in line]
    assert (done.returncode, told) == (0, [])
    recover(str(folder))  # a stop of a moment leaves some to the next start
    return json.loads(done.stdout)


@pytest.mark.parametrize("mode", ["raise", "log", "flush", "stop"])
def test_a_flood_of_signals(mode: str, tmp_path: Path) -> None:
    """Handlers that raise, as for Ctrl-C, that log, and that flush or stop; another thread logs too."""
    facts = interrupted(mode, tmp_path)

    found, torn = read(tmp_path)
    kept = {(producer, number) for producer, numbers in facts["kept"].items() for number in numbers}
    assert kept - found.keys() == set()
    assert {event for event, count in found.items() if count > 1} == set()
    assert torn == []
    assert len(facts["kept"]["main"]) >= 1000
    assert facts["interrupts"] >= INTERRUPTS
