"""A model of a loss of power: of what was not synced each sector is there, zero, or gone with the end of the file."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cipherlog_core import _logfile, _recover, _ring
from cipherlog_core._folders import Folders
from cipherlog_core._logfile import LogFile
from cipherlog_core._recover import recover
from cipherlog_core._ring import HEAD, HEADER, Ring
from oracle import read
from test_oracle import numbered

SEED = 20261126
SECTOR = 512
RING = 1 << 14


class Machine:
    """One log of one process, on a disk that remembers what it had when it was last synced."""

    def __init__(self, folder: Path, chance: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folders = Folders.of(str(folder))
        self.folders.make()
        self.chance = chance
        self.boot = monkeypatch
        self.start(b"1" * 16)
        self.log = LogFile(self.folders, "app.jsonl", fsync_after=3600)
        self.ring = Ring.create(self.folders.spool, "app.jsonl", RING)
        self.seq = self.moved = self.synced = self.safe = 0

    def start(self, boot: bytes) -> None:
        for module in (_logfile, _recover, _ring):
            self.boot.setattr(module, "boot_id", lambda: boot)

    def run(self, steps: int) -> None:
        """Log, move and sync, in any order."""
        for _ in range(steps):
            self.chance.choice([self.put, self.put, self.move, self.sync])()

    def put(self) -> None:
        line = numbered(self.seq).encode()
        head = self.ring.words[HEAD]
        if head + len(line) <= RING:
            self.ring.map[HEADER + head : HEADER + head + len(line)] = line
            self.ring.words[HEAD] = head + len(line)
            self.seq += 1

    def move(self) -> None:
        while self.log.move(self.ring):
            self.moved = self.seq

    def sync(self) -> None:
        self.log.sync_if_due()
        self.synced = self.moved
        self.safe = os.path.getsize(self.log.path) if self.synced else 0

    def lose_power(self) -> None:
        """Spoil what no sync has seen, and begin another run of the machine."""
        ring = Path(self.ring.path)
        spoiled = self.spoiled(ring.read_bytes(), HEADER if self.chance.random() < 0.7 else 0)
        self.ring.close()
        self.log.close()
        ring.write_bytes(spoiled)
        log = Path(self.log.path)
        if log.exists():
            data = log.read_bytes()
            length = self.chance.randint(self.safe, len(data))
            log.write_bytes(self.spoiled(data[:length], self.safe))
        lock = Path(self.folders.spool, "app.jsonl.lock")
        if lock.exists() and self.chance.random() < 0.5:
            lock.write_bytes(self.spoiled(lock.read_bytes(), 0))
        self.start(b"2" * 16)

    def spoiled(self, data: bytes, safe: int) -> bytes:
        """*data*, of which from *safe* on each sector has been written or not."""
        result = bytearray(data)
        for at in range(0, len(data), SECTOR):
            start, end = max(at, safe), min(at + SECTOR, len(data))
            if start < end and self.chance.random() < 0.4:
                result[start:end] = bytes(end - start)
        return bytes(result)


def after_a_loss_of_power(seed: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, set[int], int]:
    """How many events were synced, which are found, and how many were logged."""
    machine = Machine(folder, random.Random(seed), monkeypatch)
    machine.run(machine.chance.randint(1, 25))
    machine.lose_power()
    recover(machine.folders)
    after = Ring.create(machine.folders.spool, "app.jsonl", RING)
    after.fill(numbered(100_000).encode())
    log = LogFile(machine.folders, "app.jsonl")
    while log.move(after):
        pass
    log.close()
    after.close()
    found, _ = read(folder)
    return machine.synced, {seq for _, seq in found}, machine.seq


@pytest.fixture
def disk() -> Iterator[Path]:
    """In memory, where that can be: what is lost is the model's doing, and 10,000 runs wait for no real disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize("runs", [15, pytest.param(10_000, marks=pytest.mark.soak)])
def test_a_loss_of_power_takes_nothing_that_was_synced(runs: int, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest may be torn: whatever is torn takes no other line with it, and nothing appears that was not logged."""
    print(f"seed {SEED}")
    lost = 0
    for number in range(runs):
        folder = disk / "logs"
        synced, found, logged = after_a_loss_of_power(SEED + number, folder, monkeypatch)
        assert set(range(synced)) - found == set(), SEED + number
        assert found - set(range(logged)) == {100_000}, SEED + number
        lost += logged > len(found) - 1
        shutil.rmtree(folder)

    print(f"in {lost} of {runs} runs something that was not synced is gone")
    assert lost > runs / 10


def test_a_sync_that_does_nothing_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: where what is called synced is not, the model loses it."""
    sync = Machine.sync

    def pretend(machine: Machine) -> None:
        sync(machine)
        machine.safe = 0

    monkeypatch.setattr(Machine, "sync", pretend)
    results = [after_a_loss_of_power(SEED + number, tmp_path / str(number), monkeypatch) for number in range(10)]

    assert any(set(range(synced)) - found for synced, found, _ in results)
