"""Whatever the environment says, importing, starting and logging work, and the defaults stand in for what cannot be."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

SEED = 20261127
VALUES = [
    "", " ", "0", "-1", "1", "1e3", "10MB", "nan", "inf", "9" * 400, "true", "off", "none", "../..", "a\nb", "\udcff",
    "\u2028", "0640", "0777", "DEBUG", "loud", "hour", "midnight", "stderr", "printer", "%s", "{}", "~", "$HOME", "'",
]  # fmt: skip
NAMES = [
    *("LEVEL", "JSON", "CONSOLE", "ROTATE_SIZE", "ROTATE_WHEN", "BACKUPS", "GZIP", "GZIP_AFTER", "QUEUE_MAX"),
    *("QUEUE_BLOCK_MS", "SAMPLE_HTTP", "SPOOL_DIR", "FSYNC_MS", "FILE_MODE"),
]
SCRIPT = """
import json, os, sys
import cipherlog_core
told = []
for number, chosen in enumerate(json.load(sys.stdin)):
    for name in list(os.environ):
        if name.startswith("LOG_"):
            del os.environ[name]
    os.environ.update({name: os.fsdecode(bytes.fromhex(value)) for name, value in chosen.items()})
    os.environ["LOG_DIR"] = os.path.join(sys.argv[1], str(number))
    os.makedirs(os.environ["LOG_DIR"])
    os.chdir(os.environ["LOG_DIR"])
    logger = cipherlog_core.start("app")
    assert logger.event("x", level="CRITICAL"), chosen
    assert cipherlog_core.stop(), chosen
    found = [name for name in os.listdir() if name in ("app.jsonl", "app.log")]
    assert len(found) == 1 and os.path.getsize(found[0]), (chosen, os.listdir())
"""


def run(chosen: list[dict[str, str]], folder: Path, script: str = SCRIPT) -> subprocess.CompletedProcess[str]:
    """One process that starts, logs and stops in each environment."""
    command = [sys.executable, "-W", "error", "-c", script, folder]
    return subprocess.run(command, input=json.dumps(chosen), capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.parametrize("count", [15, pytest.param(500, marks=pytest.mark.soak)])
def test_odd_environments(count: int, tmp_path: Path) -> None:
    """A few variables each of which says something odd; one event is logged, whatever they are."""
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    chosen = [
        {f"LOG_{name}": os.fsencode(chance.choice(VALUES)).hex() for name in chance.sample(NAMES, chance.randint(1, 8))}
        for _ in range(count)
    ]
    done = run(chosen, tmp_path / "logs")

    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    told = [line for line in done.stderr.splitlines() if " is used instead." in line]
    assert len(told) == len(set(told)) <= len(NAMES)


CREDULOUS = """
import os
from cipherlog_core import Settings
Settings.from_env = classmethod(lambda cls: cls(dir=os.environ["LOG_DIR"], backups=int(os.environ["LOG_BACKUPS"])))
"""
SILENT = """
from cipherlog_core import Logger
Logger.event = lambda *_, **__: True
"""


@pytest.mark.parametrize(
    "wrong", [CREDULOUS, pytest.param(SILENT, marks=pytest.mark.soak)], ids=["credulous", "silent"]
)
def test_a_logger_that_fails_in_an_odd_environment_is_caught(wrong: str, tmp_path: Path) -> None:
    """The negative control."""
    chosen = [{"LOG_BACKUPS": value.encode().hex()} for value in ("5", "many")]

    assert run(chosen, tmp_path / "right").returncode == 0
    assert run(chosen, tmp_path / "wrong", wrong + SCRIPT).returncode == 1
