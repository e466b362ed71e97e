"""How requests are bounded, repeated and acknowledged, and what ends the command with which code."""

from __future__ import annotations

import gzip
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cipherlog_core._checkpoint import load
from cipherlog_core._folders import Folders
from cipherlog_core.ship import _shipper
from cipherlog_core.ship._options import destinations
from cipherlog_core.ship._shipper import Shipper
from receiver import TAKEN, Receiver, Reply
from shipping import Told, folder, line, numbers, receiver, ship, told

__all__ = ["folder", "receiver", "ship", "told"]

LOGS_ONLY = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}
Ship = Callable[..., Shipper]


def write(folder: Path, *counted: int) -> None:
    with (folder / "app.jsonl").open("ab") as file:
        file.write(b"".join(map(line, counted)))


def command(folder: Path, url: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "openrouter_tap", "ship", "--dir", str(folder), "--endpoint", url, *more]


def test_an_answer_that_drips_is_given_up(ship: Ship, receiver: Receiver, folder: Path) -> None:
    """The timeout is of the whole request, however alive the receiver looks; then it is sent again."""
    write(folder, 1)
    asked = []

    def answer(_path: str, _message: Any) -> Reply | str:
        asked.append(time.monotonic())
        return "drip head" if len(asked) == 1 else TAKEN

    receiver.answer = answer
    work = threading.Thread(target=ship, args=({**LOGS_ONLY, "OTEL_EXPORTER_OTLP_TIMEOUT": "300"},), daemon=True)
    work.start()
    work.join(10)

    assert not work.is_alive()
    assert numbers(receiver) == [1]
    assert asked[1] - asked[0] >= 0.25


def test_a_2xx_whose_body_never_ends_is_taken(ship: Ship, receiver: Receiver, folder: Path) -> None:
    """The status has told."""
    write(folder, 1)
    receiver.answer = lambda _path, _message: "drip body"

    shipper = ship({**LOGS_ONLY, "OTEL_EXPORTER_OTLP_TIMEOUT": "300"}, patience=0.0)

    assert (receiver.asked, shipper.shipped.lines) == (1, 1)


@pytest.mark.parametrize("headers", [{"Content-Encoding": "gzip"}, {"Content-Encoding": "deflate"}], ids=str)
def test_a_2xx_with_a_body_that_cannot_be_decoded_is_taken(
    ship: Ship, receiver: Receiver, folder: Path, headers: dict[str, str]
) -> None:
    """And not sent again."""
    write(folder, 1)
    receiver.answer = lambda _path, _message: (200, headers, b"no such thing")

    ship(LOGS_ONLY, patience=0.0)

    assert numbers(receiver) == [1]


def test_a_signal_that_is_away_has_the_others_sent_no_second_time(
    ship: Ship, receiver: Receiver, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through three restarts, more lines and a rotation between them; then it gets what it has missed."""
    monkeypatch.setattr(_shipper, "signals", lambda: {"numbered": Spans()})
    write(folder, 1, 2)
    receiver.answer = lambda path, _message: (503, {}, b"") if path == "/v1/traces" else TAKEN
    for number in (3, 4, 5):
        ship(patience=0.0)
        write(folder, number)
    (folder / "app.jsonl").rename(folder / "app-20261124T000000Z-000001.jsonl")
    write(folder, 6)
    receiver.answer = lambda _path, _message: TAKEN

    ship()

    assert numbers(receiver) == [1, 2, 3, 4, 5, 6]
    assert [span.name for span in receiver.spans] == ["1", "2", "3", "4", "5", "6"]


class Spans:
    """A span of each record."""

    def span(self, record: Any) -> Any:
        from opentelemetry.proto.trace.v1.trace_pb2 import Span

        return Span(name=str(record["fields"]["seq"]))

    def metrics(self, _records: Any) -> list[Any]:
        return []


@pytest.mark.parametrize("after", ["0", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_retry_after_that_is_over_keeps_the_back_off(
    ship: Ship, receiver: Receiver, folder: Path, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It doubles as ever."""
    monkeypatch.setattr(_shipper, "_BACK_OFF", (0.04, 0.2))
    write(folder, 1)
    asked = []

    def answer(_path: str, _message: Any) -> Reply:
        asked.append(time.monotonic())
        return (429, {"Retry-After": after}, b"") if len(asked) < 4 else TAKEN

    receiver.answer = answer

    ship(LOGS_ONLY)

    assert asked[3] - asked[0] >= 0.02 + 0.04 + 0.08


def test_what_the_libraries_log_while_the_shipper_is_made_is_not_shipped(tmp_path: Path, receiver: Receiver) -> None:
    """At DEBUG, from the first line on."""
    code = """
import logging, time, cipherlog_core
logger = cipherlog_core.start("app")
logging.getLogger("mine").debug("hello")
import urllib3  # so that its loggers have their level before the thread begins
logger.event("numbered", seq=1)
time.sleep(0.5)
"""
    environ = {**os.environ, "LOG_DIR": str(tmp_path), "LOG_OTLP_ENDPOINT": receiver.url, "LOG_LEVEL": "DEBUG"}

    subprocess.run([sys.executable, "-c", code], env=environ, timeout=30, check=True)

    log = (tmp_path / "app.jsonl").read_text()
    assert "hello" in log
    assert "urllib3" not in log


@pytest.mark.parametrize("piece", [1 << 20, (1 << 20) + 7])
def test_once_ends_at_the_end_of_the_files(ship: Ship, receiver: Receiver, folder: Path, piece: int) -> None:
    """Also after a line that is longer than any, which comes in pieces."""
    (folder / "app.jsonl").write_bytes(b"x" * piece + b"\n")
    write(folder, *range(600))

    ship(LOGS_ONLY)

    assert numbers(receiver) == list(range(600))


def test_once_fails_where_the_checkpoint_cannot_be_saved(receiver: Receiver, folder: Path) -> None:
    """What was shipped would be shipped again."""
    write(folder, *range(3))
    (folder / ".spool").mkdir()
    (folder / ".spool" / "ship.lock").touch()

    def full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    done = subprocess.run(
        command(folder, receiver.url, "--once"),
        env={**os.environ, **LOGS_ONLY},
        preexec_fn=full,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )

    assert numbers(receiver) == [0, 1, 2]
    assert "the checkpoint cannot be saved" in done.stderr
    assert done.returncode == 1
    assert load(Folders.of(str(folder))) == {}


@pytest.mark.parametrize("takes", [True, False])
def test_a_signal_tells_by_the_code_whether_all_is_delivered(receiver: Receiver, folder: Path, takes: bool) -> None:
    """0 or 1."""
    write(folder, 1)
    receiver.answer = lambda _path, _message: TAKEN if takes else (503, {}, b"")
    process = subprocess.Popen(
        command(folder, receiver.url), env={**os.environ, **LOGS_ONLY}, stderr=subprocess.DEVNULL
    )
    receiver.wait_for(lambda: receiver.asked > 0)

    process.terminate()

    assert process.wait(10) == (0 if takes else 1)


def test_one_that_waits_for_the_leader_to_end_has_nothing_left(folder: Path, receiver: Receiver) -> None:
    """The lines are the leader's."""
    leader = Shipper(Folders.of(str(folder)), destinations({}, receiver.url), {}, print)
    assert leader._lead()
    other = Shipper(Folders.of(str(folder)), destinations({}, receiver.url), {}, print)
    other.finish()

    assert other.run()
    leader._close()


@pytest.mark.parametrize("status", [301, 302, 307, 308, 501])
def test_what_will_never_be_taken_is_kept_with_the_reason(
    ship: Ship, receiver: Receiver, folder: Path, told: Told, status: int
) -> None:
    """A redirect is named with its target, without what may be secret in that."""
    write(folder, 1)
    headers = {"Location": "https://me:secretpw@other/v1/logs?key=secretpw"} if status < 500 else {}
    receiver.answer = lambda _path, _message: (status, headers, b"")

    shipped = ship(LOGS_ONLY, patience=0.0).shipped

    assert (receiver.asked, shipped.parked) == (1, 1)
    assert str(status) in told[0][1]
    assert "secretpw" not in told[0][1]
    assert ("to https://other/v1/logs" in told[0][1]) == (status < 500)


def test_what_the_receiver_says_of_a_refusal_is_told(ship: Ship, receiver: Receiver, folder: Path, told: Told) -> None:
    """Its beginning, without secrets."""
    write(folder, 1)
    key = "sk-or-v1-" + "a1" * 32
    receiver.answer = lambda _path, _message: (400, {}, f"no field  x, {key}\n{'y' * 1000}".encode())

    ship(LOGS_ONLY)

    assert "400 Bad Request: no field x, " in told[0][1]
    assert key not in told[0][1]
    assert told[0][1].count("y") < 220


DAMAGES: dict[str, dict[str, Any]] = {
    "version": {"version": 7},
    "before the beginning": {"offset": -1},
    "far behind": {"after": -3},
    "measured": {"measured": 10**12},
    "nothing measured": {"measured": 0},
    "no head": {"head": ""},
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_checkpoint_that_cannot_be_is_kept_and_told(
    ship: Ship, receiver: Receiver, folder: Path, told: Told, kind: str
) -> None:
    """And all is shipped again: nothing is passed over."""
    write(folder, 1, 2)
    ship(LOGS_ONLY)
    path = folder / ".spool" / "ship.json"
    saved = json.loads(path.read_text())
    damage = DAMAGES[kind]
    saved.update(damage) if "version" in damage else saved["logs"]["app.jsonl"].update(damage)
    path.write_text(json.dumps(saved))

    ship(LOGS_ONLY)

    assert numbers(receiver) == [1, 2, 1, 2]
    assert [kind for kind, _ in told] == ["checkpoint"]
    assert path.with_name("ship.json.bad").exists()


def test_a_checkpoint_behind_all_segments_passes_none_over(
    ship: Ship, receiver: Receiver, folder: Path, told: Told
) -> None:
    """As when they were deleted, and their numbers begin anew."""
    write(folder, 1, 2)
    ship(LOGS_ONLY)
    path = folder / ".spool" / "ship.json"
    saved = json.loads(path.read_text())
    saved["logs"]["app.jsonl"]["after"] = 99
    path.write_text(json.dumps(saved))
    write(folder, 3)
    (folder / "app.jsonl").rename(folder / "app-20261124T000000Z-000001.jsonl")
    write(folder, 4)

    ship(LOGS_ONLY)

    assert set(numbers(receiver)) == {1, 2, 3, 4}
    assert "behind app.jsonl" in dict(told)


def test_an_offset_behind_a_compressed_file_passes_nothing_over(ship: Ship, receiver: Receiver, folder: Path) -> None:
    """It is as if the file were another."""
    write(folder, 1, 2)
    ship(LOGS_ONLY)
    path = folder / ".spool" / "ship.json"
    saved = json.loads(path.read_text())
    saved["logs"]["app.jsonl"]["offset"] = 10**9
    path.write_text(json.dumps(saved))
    write(folder, 3)
    (folder / "app-20261124T000000Z-000001.jsonl.gz").write_bytes(gzip.compress((folder / "app.jsonl").read_bytes()))
    (folder / "app.jsonl").unlink()

    ship(LOGS_ONLY)

    assert numbers(receiver) == [1, 2, 1, 2, 3]


def test_a_folder_without_logs_is_told(tmp_path: Path, receiver: Receiver) -> None:
    """It may be a slip; it may be that nothing was logged yet."""
    process = subprocess.Popen(command(tmp_path / "typo", receiver.url), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = [process.stderr.readline() for _ in range(1)]
    process.terminate()
    process.communicate(timeout=10)

    assert f"no logs in {tmp_path / 'typo'} yet" in said[0]
