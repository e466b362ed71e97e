"""Many processes, one file: each line of each is there once and whole, through rotation, gzip and kills."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cipherlog_core._folders import Folders
from cipherlog_core._ledger import open_ledger
from cipherlog_core._rotation import closed_segments
from oracle import RIGHT, judge
from processes import Producer, Producers
from working import EVENTS

SEED = 20261124
TINY = {
    "LOG_QUEUE_MAX": "64",
    "LOG_ROTATE_SIZE": "20000",
    "LOG_BACKUPS": "0",
    "LOG_GZIP_AFTER": "0",
    "LOG_QUEUE_BLOCK_MS": "5000",  # what is measured here is loss, not patience
}
PROCESSES = 15


def wait_for_all(running: list[Producer], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    for producer in running:
        assert producer.process.wait(deadline - time.monotonic()) == 0


def test_fifteen_processes_and_three_hundred_rotations(tmp_path: Path) -> None:
    """1,500 events each, segments of 20 kB, compressed at once."""
    producers = Producers(tmp_path / "logs", TINY)
    running = [producers.start(f"p{number}", 1500) for number in range(PROCESSES)]
    wait_for_all(running)
    producers.recover()

    assert {producer.acknowledged for producer in running} == {1500}
    assert judge(producers.folder, {producer.name: 1500 for producer in running}) == RIGHT
    found = list(closed_segments(str(producers.folder), "app.jsonl"))
    assert len({segment.number for segment in found}) >= 300
    assert any(segment.is_compressed for segment in found)


@pytest.mark.parametrize(("seconds", "pause"), [(2, 0.1), pytest.param(180, 1.0, marks=pytest.mark.soak)])
def test_fifteen_processes_of_which_some_are_killed(seconds: float, pause: float, tmp_path: Path) -> None:
    """A random one again and again, and another takes its place: nothing acknowledged by any of them is lost."""
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    producers = Producers(tmp_path / "logs", TINY)
    running = [producers.start(f"p{number}") for number in range(PROCESSES)]
    ended: list[Producer] = []
    begin_by = time.monotonic() + 60
    while not any(producer.acknowledged for producer in running):  # fifteen interpreters start at once
        assert time.monotonic() < begin_by
        time.sleep(0.01)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(rng.random() * 2 * pause)
        victim = running.pop(rng.randrange(len(running)))
        victim.kill()
        ended.append(victim)
        running.append(producers.start(f"p{PROCESSES + len(ended)}"))
    for producer in running:
        producer.kill()
    producers.recover()

    acknowledged = {producer.name: producer.acknowledged for producer in [*ended, *running]}
    print(f"{len(ended)} killed on the way, {sum(acknowledged.values())} events")
    assert sum(acknowledged.values()) > 1000
    assert judge(producers.folder, acknowledged) == RIGHT


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_multiprocessing(method: str, tmp_path: Path) -> None:
    """What a worker logs is in the file when it has ended, though it runs no exit handler."""
    script = Path(__file__).with_name("working.py")
    environment = {**os.environ, **TINY, "LOG_DIR": str(tmp_path / "logs")}
    quiet = "-Wignore:This process:DeprecationWarning"  # 3.12 and later: a fork beside threads is what is tested
    command = [sys.executable, "-W", "error", quiet, str(script), method, "4"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
    expected = dict.fromkeys(["parent", *(f"worker {number}" for number in range(4))], EVENTS)
    assert judge(tmp_path / "logs", expected) == RIGHT


HOLD = """
import sys, time
from cipherlog_core._ledger import open_ledger
assert open_ledger(sys.argv[1]).try_lock()
print(flush=True)
time.sleep(60)
"""


def test_a_process_that_dies_while_it_holds_the_lock(tmp_path: Path) -> None:
    """The lock goes with it: who waits for it goes on at once."""
    producers = Producers(tmp_path / "logs", TINY)
    first = producers.start("a", 100)
    wait_for_all([first])
    lock = os.path.join(Folders.of(str(producers.folder)).spool, "app.jsonl.lock")
    with subprocess.Popen([sys.executable, "-c", HOLD, lock], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        assert not open_ledger(lock).try_lock()
        second = producers.start("b", 100)
        time.sleep(0.5)
        assert second.process.poll() is None
        holder.kill()
    wait_for_all([second], 20)

    assert judge(producers.folder, {"a": 100, "b": 100}) == RIGHT
