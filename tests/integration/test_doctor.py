"""The command that says what is in force and what is wrong."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from openrouter_tap.cli._commands import commands

LEAVE = """
import os, cipherlog_core
from cipherlog_core._writer import Writer
Writer.start = lambda self: True  # so that all stays in the ring
logger = cipherlog_core.start("app")
for number in range(3):
    logger.event("x")
os._exit(9)
"""


ODD_FILES: dict[str, Callable[[Path, Path], object]] = {
    "fifo": lambda active, _: os.mkfifo(active),
    "folder": lambda active, _: active.mkdir(),
    "dangling": lambda active, _: active.symlink_to("nothing"),
    "loop": lambda active, _: active.symlink_to(active),
    "broken gz": lambda _, segment: Path(f"{segment}.gz").write_bytes(b"no gzip at all"),
    "cut gz": lambda _, segment: Path(f"{segment}.gz").write_bytes(gzip.compress(bytes(1000))[:-9]),
    "not ours": lambda active, _: active.with_name(".spool").symlink_to(active.parent.parent),
    "only a segment": lambda _, segment: segment.write_text("wrong\n"),
}


PLACES = {"memory": "/proc/self", "no files": "/proc", "no files below": "/proc/logs"}


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


@pytest.mark.parametrize("scheme", ["http", "htp"])
def test_a_password_in_a_variable_is_not_printed(tmp_path: Path, scheme: str) -> None:
    """Whether the variable can be used or not; what is printed may be pasted anywhere. Brackets are no markup."""
    _, text = doctor(tmp_path / "[/x]", LOG_OTLP_ENDPOINT=f"{scheme}://me:hunter2-hunter2@host:4318")

    assert "hunter2" not in text
    assert f"{scheme}://[redacted]@host:4318" in text
    assert "[/x]" in text


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
    assert "OPENROUTER_TAP on default" in text
    assert "events survive the death of their process" in text
    assert "app.jsonl: 1 files" in text
    assert "of its last 1 lines 0 are not of the schema" in text


@pytest.mark.parametrize(
    ("environment", "row"),
    [
        ({"OPENROUTER_TAP": "OFF"}, "OPENROUTER_TAP off environment"),
        ({"OPENROUTER_TAP": "No"}, "OPENROUTER_TAP off environment"),
        ({"OPENROUTER_TAP": "1"}, "OPENROUTER_TAP on environment"),
        ({"OTEL_SDK_DISABLED": "1"}, "OPENROUTER_TAP on default"),
        ({"OPENROUTER_TAP": "aus"}, "OPENROUTER_TAP on bad: 'aus'"),
        ({"OTEL_SDK_DISABLED": "true"}, "OPENROUTER_TAP off OTEL_SDK_DISABLED"),
        ({"OTEL_SDK_DISABLED": "true", "OPENROUTER_TAP": "on"}, "OPENROUTER_TAP off OTEL_SDK_DISABLED"),
    ],
    ids=str,
)
def test_whether_taps_record_is_told(environment: dict[str, str], row: str, tmp_path: Path) -> None:
    """What is in force, and which variable says so."""
    told = CliRunner().invoke(commands, ["doctor"], env={"LOG_DIR": str(tmp_path / "logs"), **environment})

    assert row in " ".join(told.stdout.split())


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


def test_what_an_ended_process_left_is_no_trouble(tmp_path: Path) -> None:
    """A server that re-raises SIGTERM ends so: it is told what brings it in, and that does."""
    run("-c", LEAVE, folder=tmp_path)
    code, text = doctor(tmp_path)
    assert (code, "All is well." in text) == (0, True)
    assert "which has ended: 3 records wait" in text
    assert "the next start or `openrouter-tap report` brings them in" in text
    run("-m", "openrouter_tap", "report", str(tmp_path), folder=tmp_path)

    assert (tmp_path / "app.jsonl").read_text().count("\n") == 3
    assert "no rings" in doctor(tmp_path)[1]


def test_all_files_of_all_logs_are_looked_at(tmp_path: Path) -> None:
    """Text logs, and those of which only compressed segments are left."""
    run("-c", "import cipherlog_core as c; c.start('app').event('x')", folder=tmp_path)
    run("-c", "import cipherlog_core as c; c.start('app').event('x')", folder=tmp_path, LOG_JSON="false")
    packed = gzip.compress((tmp_path / "app.jsonl").read_bytes())
    (tmp_path / "old-20261124T000000Z-000001.jsonl.gz").write_bytes(packed)
    code, text = doctor(tmp_path)

    assert code == 0
    assert "app.log: 1 files" in text
    assert f"old.jsonl: 1 files, {len(packed)} bytes; of its last 1 lines 0 are not of the schema" in text


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (
            "setting",
            "LOG_LEVEL='loud' cannot be used; it takes DEBUG, INFO, WARNING, ERROR, CRITICAL. 'INFO' is in force",
        ),
        ("switch", "OPENROUTER_TAP='aus' is none of true, 1, yes, on, false, 0, no, off"),
        ("hosts", "OPENROUTER_TAP_HOSTS: 'host:abc' is no host"),
        ("bad ring", "makes no sense"),
        ("set aside", "was no ring of this version"),
        ("not ours", ".spool is a symlink or another user's: no ring is kept there"),
        ("torn line", "1 are not of the schema (Input data was truncated)"),
        ("wrong line", "1 are not of the schema (Object missing required field"),
        ("dropped", "tell of 7 events that were dropped"),
        ("file", "is no folder"),
        ("in a file", "it cannot be made"),
        ("no files", "/proc has mode 0555 and cannot be written"),
        ("no files below", "/proc/logs is not there; it cannot be made"),
        ("fifo", "a.jsonl cannot be read: [Errno 22] not a regular file"),
        ("folder", "a.jsonl cannot be read: [Errno 22] not a regular file"),
        ("dangling", "a.jsonl cannot be read: [Errno 40]"),
        ("loop", "a.jsonl cannot be read: [Errno 40]"),
        ("broken gz", "a-20261124T000000Z-000001.jsonl.gz cannot be read"),
        ("cut gz", "a-20261124T000000Z-000001.jsonl.gz cannot be read"),
        ("only a segment", "a.jsonl: 1 files, 6 bytes; of its last 1 lines 1 are not"),
        ("memory", "events do not survive the death of their process"),
    ],
)
def test_what_is_wrong_is_told(trouble: str, told: str, tmp_path: Path) -> None:
    """Exit code 1, and the finding is marked."""
    folder = tmp_path / "logs"
    environment = {}
    if trouble == "setting":
        environment["LOG_LEVEL"] = "loud"
    elif trouble == "switch":
        environment["OPENROUTER_TAP"] = "aus"
    elif trouble == "hosts":
        environment["OPENROUTER_TAP_HOSTS"] = "a.local,host:abc"
    elif trouble in ("bad ring", "set aside"):
        run("-c", LEAVE, folder=folder)
        (ring,) = (folder / ".spool").glob("*.ring")
        if trouble == "bad ring":
            os.truncate(ring, 100)
        else:
            ring.rename(f"{ring}.bad")
    elif trouble == "file":
        folder.write_text("")
    elif trouble == "in a file":
        folder.write_text("")
        folder /= "sub"
    elif trouble in ODD_FILES:
        folder.mkdir()
        ODD_FILES[trouble](folder / "a.jsonl", folder / "a-20261124T000000Z-000001.jsonl")
    elif trouble in PLACES:
        folder = Path(PLACES[trouble])
    else:
        run("-c", "import cipherlog_core as c; c.start('app').event('x')", folder=folder)
        good = (folder / "app.jsonl").read_text()
        dropped = good.replace('"x"', '"records_dropped"').replace(
            '"fields":{}', '"fields":{"dropped":7,"since":"2026-11-24T00:00:00.000000Z","reason":"full"}'
        )
        more = {"torn line": good[:50], "wrong line": good.replace('"pid"', '"p"'), "dropped": dropped}
        (folder / "app.jsonl").write_text(good + more[trouble])
    told_there = CliRunner().invoke(
        commands, ["doctor"], env={"LOG_DIR": str(folder), **environment}, catch_exceptions=False
    )
    text = " ".join(told_there.stdout.split())

    assert (told_there.exit_code, told_there.stderr) == (1, "")
    assert told in text
    assert "!! " in text
    assert "need a look" in text
