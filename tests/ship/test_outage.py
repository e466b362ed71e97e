"""Nothing is lost on the way: a receiver that is down and does everything wrong, a shipper that is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from openrouter_tap.cli._commands import commands
from receiver import TAKEN, Receiver, Reply
from shipping import numbers, receiver

__all__ = ["receiver"]

HERE = Path(__file__).parent
BATCH = 512
SHIP = {"OTEL_EXPORTER_OTLP_TIMEOUT": "500", "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}


@dataclass
class Wrong:
    """Answers in every wrong way in turn; kills the shipper in the middle of some requests that are taken."""

    shipper: Shipper
    kills: int
    every: int
    asked: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    def __call__(self, _path: str, message: Any) -> Reply | str:
        self.asked += 1
        kinds: list[Reply | str] = [
            (503, {}, b""),
            (429, {"Retry-After": "1"}, b""),
            "hang",
            "reset",
            "413",
            (502, {}, b""),
        ]
        if self.asked % 4 == 1:
            kind = kinds[self.asked // 4 % len(kinds)]
            self.seen[str(kind)[:4]] += 1
            if kind == "413":
                records = sum(len(one.log_records) for res in message.resource_logs for one in res.scope_logs)
                return (413, {}, b"") if records > 10 else TAKEN
            return kind
        if self.shipper.killed < self.kills and self.asked > self.every * (self.shipper.killed + 1):
            self.shipper.kill()  # what it has just been sent is taken, and it does not know
        return TAKEN


@dataclass
class Shipper:
    """``openrouter-tap ship`` as a process that can be killed and started again."""

    folder: Path
    url: str
    killed: int = 0

    def start(self) -> None:
        command = [sys.executable, "-m", "openrouter_tap", "ship", "--dir", str(self.folder), "--endpoint", self.url]
        with (self.folder.parent / "ship.err").open("ab") as errors:
            self.process = subprocess.Popen(command, env={**os.environ, **SHIP}, stderr=errors)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self.start()
        self.killed += 1

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(10)


def produce(folder: Path, count: int) -> tuple[subprocess.Popen[bytes], Path]:
    times = folder.parent / f"{folder.name}.times"
    size = max(count * 10, 65536)  # some thirty segments, plain for a second
    rotation = {"LOG_ROTATE_SIZE": str(size), "LOG_GZIP_AFTER": "1"}
    rotation["LOG_BACKUPS"] = "99"  # none is deleted before the shipper has begun
    environ = {**os.environ, **rotation, "LOG_DIR": str(folder)}
    command = [sys.executable, str(HERE / "paced.py"), str(count), "2000", str(times)]
    return subprocess.Popen(command, env=environ), times


def run(tmp_path: Path, count: int, down: float, kills: int, every: int) -> tuple[float, list[int]]:
    """The producer's p99 in µs, and the numbers as they arrived, all faults at work."""
    folder = tmp_path / "logs"
    folder.mkdir()
    reserved = Receiver()
    port = reserved.port
    reserved.close()
    shipper = Shipper(folder, f"http://127.0.0.1:{port}")
    producer, times = produce(folder, count)
    shipper.start()
    time.sleep(down)  # the outage itself
    receiver = Receiver(port)
    try:
        receiver.answer = wrong = Wrong(shipper, kills, every)
        assert producer.wait(count / 1000 + 60) == 0
        receiver.wait_for(lambda: receiver.count >= count and len(set(numbers(receiver))) == count, 300)
        receiver.wait_for(lambda: shipper.killed == kills, 60)
        assert shipper.stop() == 0
        assert len(wrong.seen) >= 3
        print(f"asked {wrong.asked}, wrong {dict(wrong.seen)}, killed {shipper.killed}")
    finally:
        for process in (shipper.process, producer):
            process.kill()
            process.wait(10)
        receiver.close()
        print((tmp_path / "ship.err").read_text())
    return float(times.read_text()), numbers(receiver)


def check(arrived: list[int], count: int, kills: int) -> None:
    assert set(arrived) == set(range(count))
    assert len(arrived) - count <= kills * BATCH
    first = list(dict.fromkeys(arrived))
    assert first == sorted(first)


def test_an_outage_and_a_kill_lose_nothing(tmp_path: Path) -> None:
    """3,000 events: all arrive, in order, and not more than one batch twice for each kill."""
    _, arrived = run(tmp_path, 3000, down=0.3, kills=1, every=3)

    check(arrived, 3000, kills=1)


@pytest.mark.soak
def test_100000_events_through_an_outage_and_five_kills(tmp_path: Path) -> None:
    """60 s down, then 503, 429, 413, hangs and resets, and five SIGKILLs: 100 % arrive; an event costs what it did."""
    control, control_times = produce(tmp_path / "control", 20_000)
    assert control.wait(60) == 0
    alone = float(control_times.read_text())

    p99, arrived = run(tmp_path, 100_000, down=60, kills=5, every=30)

    doubled = len(arrived) - len(set(arrived))
    print(f"arrived {len(set(arrived))} of 100000, doubled {doubled}; emit p99 {p99:.1f} µs, alone {alone:.1f} µs")
    check(arrived, 100_000, kills=5)
    assert p99 < 2 * alone + 20


CLIENT = """
import sys, time, threading, cipherlog_core
logger = cipherlog_core.start("app")
logger.event("numbered", seq=0)
threading.Event().wait(0.8)  # the thread is at its request
logger.event("numbered", seq=1)
print(time.monotonic())
"""


def test_a_receiver_holds_the_end_of_a_process_for_two_seconds_at_most(tmp_path: Path) -> None:
    """Whatever it does; and what a healthy one can take until then is shipped."""
    hows = ["refuse", "hang", "reset", "take"]
    receivers = {how: Receiver() for how in hows}
    for how, one in receivers.items():
        one.answer = lambda _path, _message, how=how: TAKEN if how == "take" else how
    receivers["refuse"].close()
    processes = {how: client(tmp_path / how, receivers[how].url) for how in hows}

    ended = {}
    for how, process in processes.items():  # the hanging one is waited for last
        begun, _ = process.communicate(timeout=30)
        ended[how] = float(Path(f"{tmp_path / how}.end").read_text()) - float(begun)
        assert process.returncode == 0

    assert {how: seconds for how, seconds in ended.items() if seconds > 2.3} == {}  # and the end of the interpreter
    for how in hows:
        assert (tmp_path / how / "app.jsonl").read_bytes().count(b"numbered") == 2
        assert numbers(receivers[how]) == ([0, 1] if how == "take" else [])
    for one in receivers.values():
        one.close()


def client(folder: Path, url: str) -> subprocess.Popen[str]:
    """A process that logs, and a shell that notes when it has ended."""
    note = "import time; print(time.monotonic())"
    command = f'"{sys.executable}" -c "$1"; code=$?; "{sys.executable}" -c "{note}" > "{folder}.end"; exit $code'
    environ = {**os.environ, "LOG_DIR": str(folder), "LOG_OTLP_ENDPOINT": url}
    return subprocess.Popen(["sh", "-c", command, "sh", CLIENT], env=environ, stdout=subprocess.PIPE, text=True)


FORKING = """
import os, sys, time, cipherlog_core
logger = cipherlog_core.start("app")
logger.event("numbered", seq=0)
time.sleep(0.8)
if os.fork() == 0:
    logger.event("numbered", seq=1)
    os.read(0, 1)
    logger.event("numbered", seq=2)
    time.sleep(0.1)
    cipherlog_core.flush()
    os.read(0, 1)
    os._exit(0)
os._exit(0)
"""


def test_another_process_takes_over_when_the_leader_ends(tmp_path: Path, receiver: Receiver) -> None:
    """A forked child holds no lock of its parent's; it ships when that is gone."""
    environ = {**os.environ, "LOG_DIR": str(tmp_path / "logs"), "LOG_OTLP_ENDPOINT": receiver.url}
    process = subprocess.Popen([sys.executable, "-c", FORKING], env=environ, stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.wait(20) == 0

    receiver.wait_for(lambda: 1 in numbers(receiver))
    process.stdin.write(b"x")
    process.stdin.flush()
    receiver.wait_for(lambda: 2 in numbers(receiver))
    process.stdin.close()

    assert numbers(receiver) == [0, 1, 2]


def test_exit_codes_of_the_command(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 all shipped, 1 refused, 2 wrong usage, 3 no logs."""

    def ship(folder: Path) -> Result:
        return CliRunner().invoke(commands, ["ship", "--once", "--dir", str(folder)])

    (tmp_path / "app.jsonl").write_text("a line\n")
    monkeypatch.setenv("LOG_OTLP_ENDPOINT", receiver.url)
    receiver.answer = lambda _path, _message: (401, {}, b"")
    refused = ship(tmp_path)
    receiver.answer = lambda _path, _message: TAKEN
    again = ship(tmp_path / ".spool" / "dead-letters" / "logs")
    empty = ship(tmp_path / "nothing")
    monkeypatch.delenv("LOG_OTLP_ENDPOINT")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "collector")
    wrong = ship(tmp_path)

    assert [one.exit_code for one in (refused, again, wrong, empty)] == [1, 0, 2, 3]
    assert [record[""].body.string_value for record in receiver.logs] == ["a line"]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT='collector' cannot be used" in wrong.stderr
    assert "1 refused and kept" in refused.stderr
