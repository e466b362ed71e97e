"""The command that says what is in force and what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LEAVE = """
import os, cipherlog_core
from cipherlog_core._writer import Writer
Writer.start = lambda self: True  # so that all stays in the ring
logger = cipherlog_core.start("app")
for number in range(3):
    logger.event("x")
os._exit(9)
"""


def run(*command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "LOG_DIR": str(folder), "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def doctor(folder: Path, **environment: str) -> tuple[int, str]:
    done = run("-m", "openrouter_tap", "doctor", folder=folder, **environment)
    assert done.stderr == ""
    return done.returncode, " ".join(done.stdout.split())


def test_all_is_well(tmp_path: Path) -> None:
    """Nothing logged yet, and then a log that is as it should be; nothing is created by looking."""
    code, text = doctor(tmp_path / "logs")
    assert (code, "All is well." in text, "is not there; it will be made" in text) == (0, True, True)
    assert not (tmp_path / "logs").exists()
    run("-c", "import cipherlog_core as c; c.start('app').event('x')", folder=tmp_path / "logs")
    code, text = doctor(tmp_path / "logs", LOG_BACKUPS="7")

    assert (code, "All is well." in text) == (0, True)
    assert "LOG_BACKUPS 7 environment" in text
    assert "LOG_LEVEL INFO default" in text
    assert "events survive the death of their process" in text
    assert "app.jsonl: 1 files" in text
    assert "of its last 1 lines 0 are not of the schema" in text


def test_a_living_process(tmp_path: Path) -> None:
    """Its ring is shown, and left alone."""
    code = "import cipherlog_core as c, sys; c.start('app').event('x'); c.flush(); print(flush=True); sys.stdin.read()"
    environment = {**os.environ, "LOG_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        exit_code, text = doctor(tmp_path)
        process.communicate(timeout=30)

    assert exit_code == 0
    assert f"ring of app.jsonl, process {process.pid}, which lives: 0 records wait in 0% of 4096 KiB" in text


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("setting", "LOG_LEVEL='loud': Invalid enum value 'loud'; 'INFO' is in force"),
        ("dead ring", "which is dead: 3 records wait"),
        ("bad ring", "makes no sense"),
        ("set aside", "was no ring of this version"),
        ("torn line", "1 are not of the schema (Input data was truncated)"),
        ("wrong line", "1 are not of the schema (Object missing required field"),
        ("dropped", "tell of 7 events that were dropped"),
        ("file", "is no folder"),
        ("memory", "events do not survive the death of their process"),
    ],
)
def test_what_is_wrong_is_told(trouble: str, told: str, tmp_path: Path) -> None:
    """Exit code 1, and the finding is marked."""
    folder = tmp_path / "logs"
    environment = {}
    if trouble == "setting":
        environment["LOG_LEVEL"] = "loud"
    elif trouble in ("dead ring", "bad ring", "set aside"):
        run("-c", LEAVE, folder=folder)
        (ring,) = (folder / ".spool").glob("*.ring")
        if trouble == "bad ring":
            os.truncate(ring, 100)
        elif trouble == "set aside":
            ring.rename(f"{ring}.bad")
    elif trouble == "file":
        folder.write_text("")
    elif trouble == "memory":
        folder = Path("/proc/self")
    else:
        run("-c", "import cipherlog_core as c; c.start('app').event('x')", folder=folder)
        good = (folder / "app.jsonl").read_text()
        dropped = good.replace('"x"', '"records_dropped"').replace(
            '"fields":{}', '"fields":{"dropped":7,"since":"2026-11-24T00:00:00.000000Z","reason":"full"}'
        )
        more = {"torn line": good[:50], "wrong line": good.replace('"pid"', '"p"'), "dropped": dropped}
        (folder / "app.jsonl").write_text(good + more[trouble])
    code, text = doctor(folder, **environment)

    assert code == 1
    assert told in text
    assert "!! " in text
    assert "need a look" in text
