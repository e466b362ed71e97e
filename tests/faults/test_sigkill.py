"""What was acknowledged survives SIGKILL: once, and whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Logs

import cipherlog_core
from cipherlog_core import _writer
from cipherlog_core._logfile import LogFile
from cipherlog_core.reading import recover
from oracle import RIGHT, Verdict, judge
from processes import PRODUCER, Producer, Producers, acknowledged_in

SEED = 20261123
MOMENTS = 30
SMALL = {
    "LOG_QUEUE_MAX": "64",
    "LOG_ROTATE_SIZE": "200000",
    "LOG_BACKUPS": "0",
    "LOG_GZIP_AFTER": "0",
}  # so that the seams are met often


def wait_until_busy(*running: Producer) -> None:
    deadline = time.monotonic() + 30
    while not all(producer.acknowledged for producer in running):
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_process_killed_while_it_logs_flat_out(moment: int, tmp_path: Path) -> None:
    """At a random moment, every other time with a second process on the same file that lives on for a while."""
    rng = random.Random(SEED + moment)
    print(f"seed {SEED + moment}")
    producers = Producers(tmp_path / "logs", SMALL)
    running = [producers.start(name) for name in ("a", "b")[: 1 + moment % 2]]
    wait_until_busy(*running)
    time.sleep(rng.random() * 0.1)
    for producer in running:
        producer.kill()
        time.sleep(rng.random() * 0.05)

    recover(str(producers.folder))
    acknowledged = {producer.name: producer.acknowledged for producer in running}
    assert judge(producers.folder, acknowledged) == RIGHT


@pytest.mark.soak
@pytest.mark.parametrize("processes", [1, 4])
def test_a_hundred_random_kills(processes: int, tmp_path: Path) -> None:
    """Of one process, and of four on one file, each folder used again and again."""
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    producers = Producers(tmp_path / "logs", SMALL)
    acknowledged = {}
    for number in range(100 // processes):
        running = [producers.start(f"p{number}-{which}") for which in range(processes)]
        wait_until_busy(*running)
        time.sleep(rng.random() * 0.2)
        for producer in running:
            producer.kill()
        acknowledged |= {producer.name: producer.acknowledged for producer in running}
    producers.recover()

    assert len(acknowledged) == 100
    assert judge(producers.folder, acknowledged) == RIGHT


def killed_at_calls(first: int, last: int, how: str, folder: Path) -> list[tuple[int, int, Verdict]]:
    """Exit status, acknowledged events and verdict of processes that die at their system calls *first* to *last*."""
    environment = {**os.environ, **SMALL, "LOG_ROTATE_SIZE": "30000"}
    command = [sys.executable, str(PRODUCER), "each", str(folder), how, str(first), str(last)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    ended = []
    for number, status in enumerate(done.stdout.split(), first):
        logs = folder / str(number)
        recover(str(logs))
        acknowledged = acknowledged_in(folder / f"{number}.acks")
        ended.append((int(status), acknowledged, judge(logs, {"a": acknowledged})))
    return ended


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_process_killed_at_each_of_its_system_calls(how: str, tmp_path: Path) -> None:
    """Opening, writing, rotating, closing: for N = 1, 2, 3 … the Nth call is the last, until a run meets no more."""
    *killed, (status, acknowledged, verdict) = killed_at_calls(1, 1000, how, tmp_path)

    assert [number for number, (_, _, verdict) in enumerate(killed, 1) if verdict != RIGHT] == []
    assert {status for status, _, _ in killed} == {-signal.SIGKILL}
    assert (status, acknowledged, verdict) == (0, 100, RIGHT)
    assert len(killed) > 30


def test_without_the_ledger_the_same_kills_do_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: a recovery that does not settle what was cut leaves doubled or torn lines."""
    monkeypatch.setattr(LogFile, "_settle", lambda *_: None)
    verdicts = [verdict for _, _, verdict in killed_at_calls(12, 29, "after", tmp_path)]

    assert len(verdicts) == 18
    assert any(verdict.doubled or verdict.torn for verdict in verdicts)
    assert not any(verdict.missing for verdict in verdicts)


def test_a_survivor_brings_in_what_a_killed_process_left(
    tmp_path: Path, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to start again: a living process on the same folder does it within seconds."""
    assert _writer._SCAN <= 5
    monkeypatch.setattr(_writer, "_SCAN", 0.2)
    monkeypatch.setenv("LOG_BACKUPS", "0")
    producers = Producers(logs.folder, SMALL)
    survivor = cipherlog_core.start("app")
    assert survivor.event("numbered", producer="survivor", seq=0)
    victim = producers.start("a")
    wait_until_busy(victim)
    victim.kill()
    deadline = time.monotonic() + 20
    while len(list((logs.folder / ".spool").glob("*.ring"))) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert survivor.event("numbered", producer="survivor", seq=1)
    assert cipherlog_core.flush()

    assert victim.acknowledged
    assert judge(logs.folder, {"a": victim.acknowledged, "survivor": 2}) == RIGHT
