"""Signals and finalisers in the middle of our code: nothing hangs, nothing is lost, doubled or torn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oracle import read

SMALL = {"LOG_QUEUE_MAX": "64", "LOG_ROTATE_SIZE": "200000", "LOG_BACKUPS": "0", "LOG_GZIP_AFTER": "0"}
SCRIPT = Path(__file__).with_name("interrupted.py")


def interrupted(mode: str, folder: Path) -> dict[str, Any]:
    environment = {**os.environ, **SMALL, "LOG_DIR": str(folder)}
    command = [sys.executable, "-W", "error", str(SCRIPT), mode, "2.5"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.parametrize("mode", ["raise", "log"])
def test_a_flood_of_signals(mode: str, tmp_path: Path) -> None:
    """Handlers that raise, as for Ctrl-C, and handlers that log, while another thread logs too."""
    facts = interrupted(mode, tmp_path)

    found, torn = read(tmp_path)
    kept = {(producer, number) for producer, numbers in facts["kept"].items() for number in numbers}
    assert kept - found.keys() == set()
    assert {event for event, count in found.items() if count > 1} == set()
    assert torn == []
    assert len(facts["kept"]["main"]) > 1000
    assert facts["interrupts"] > 500 if mode == "raise" else len(facts["kept"]["handler"]) > 500
