"""The shipper against a receiver that behaves in every known way, over loopback HTTP."""

from __future__ import annotations

import gzip
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Logs

import cipherlog_core
from cipherlog_core import Settings, _archive
from cipherlog_core._archive import Archiver, Log
from cipherlog_core._checkpoint import load
from cipherlog_core._folders import Folders
from cipherlog_core._rotation import closed_segments
from cipherlog_core.ship import _background
from cipherlog_core.ship._options import destinations
from cipherlog_core.ship._shipper import Shipper
from openrouter_tap import instrument, uninstrument
from receiver import TAKEN, Receiver, Reply, partly
from shipping import Told, folder, line, numbers, receiver, ship, told

__all__ = ["folder", "receiver", "ship", "told"]

LOGS_ONLY = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}
Ship = Callable[..., Shipper]


def write(folder: Path, *counted: int, name: str = "app.jsonl") -> None:
    with (folder / name).open("ab") as file:
        file.write(b"".join(map(line, counted)))


def closed(folder: Path, number: int) -> Path:
    """Rotate ``app.jsonl``."""
    path = folder / f"app-20261124T000000Z-{number:06d}.jsonl"
    (folder / "app.jsonl").rename(path)
    return path


def compressed(path: Path) -> None:
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def test_a_record_arrives_field_exact(ship: Ship, receiver: Receiver, folder: Path) -> None:
    """Fields under their names, nested ones with dots, null left out; time in nanoseconds; severity; service."""
    fields = {"n": 3, "price": 0.1, "ok": False, "none": None, "deep": {"a": {"b": "c"}}, "list": [1, "x", {"k": None}]}
    trace = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"}
    (folder / "app.jsonl").write_bytes(line(7, level="ERROR", session_id="s-1", fields={**fields, **trace}))

    ship()

    (record,) = receiver.logs
    told = record.pop("")
    assert record == {
        "n": 3,
        "price": 0.1,
        "ok": False,
        "deep.a.b": "c",
        "list": [1, "x", {"k": None}],
        **trace,
        "log.record.uid": f"{7:016d}0123456789abc",
        "log.file.name": "app.jsonl",
        "process.pid": 7,
        "thread.name": "MainThread",
        "server": "app",
        "session.id": "s-1",
        "resource": {"service.name": "app"},
        "scope": "app",
    }
    assert told.time_unix_nano == 1795504729000007000
    assert (told.severity_number, told.severity_text) == (17, "ERROR")
    assert (told.body.string_value, told.event_name) == ("numbered", "numbered")
    assert (told.trace_id.hex(), told.span_id.hex()) == tuple(trace.values())


def test_what_is_no_record_arrives_as_text(ship: Ship, receiver: Receiver, folder: Path) -> None:
    """Lines of a text log, torn ones, and those of other programs, in their place."""
    (folder / "app.jsonl").write_bytes(line(1) + b'{"torn\n\xff\n[1]\n' + line(2))

    ship()

    bodies = [record[""].body.string_value for record in receiver.logs]
    assert bodies == ["numbered", '{"torn', "\ufffd", "[1]", "numbered"]


@pytest.mark.parametrize("is_compressed", [False, True])
def test_the_position_survives_rotation_and_compression(
    ship: Ship, receiver: Receiver, folder: Path, is_compressed: bool
) -> None:
    """A file that was half shipped becomes a segment, the next ones come: each line once, in order."""
    write(folder, 1, 2)
    ship()
    write(folder, 3)
    first = closed(folder, 1)
    write(folder, 4, 5)
    second = closed(folder, 2)
    write(folder, 6)
    if is_compressed:
        compressed(first)
        compressed(second)

    ship()
    ship()

    assert numbers(receiver) == [1, 2, 3, 4, 5, 6]


def test_a_segment_that_is_gone_is_told_and_the_next_is_shipped_from_its_beginning(
    ship: Ship, receiver: Receiver, folder: Path, told: Told
) -> None:
    """Whatever is lost by pruning, nothing else is, and nobody reads at another file's offset."""
    write(folder, 1, 2)
    ship()
    closed(folder, 1).unlink()
    write(folder, 3, 4)
    closed(folder, 2)
    write(folder, 5)

    ship()

    assert numbers(receiver) == [1, 2, 3, 4, 5]
    assert [kind for kind, _ in told] == ["gone app.jsonl"]


def test_a_truncated_log_is_shipped_from_its_beginning(ship: Ship, receiver: Receiver, folder: Path) -> None:
    """As logrotate's copytruncate leaves it."""
    write(folder, 1, 2)
    ship()
    (folder / "app.jsonl").write_bytes(line(3))

    ship()

    assert numbers(receiver) == [1, 2, 3]


def test_a_broken_segment_is_told_and_passed(ship: Ship, receiver: Receiver, folder: Path, told: Told) -> None:
    """What can be read of it is shipped, and what follows."""
    write(folder, *range(2000))
    path = closed(folder, 1)
    packed = gzip.compress(path.read_bytes())
    path.with_name(f"{path.name}.gz").write_bytes(packed[: len(packed) // 2])
    path.unlink()
    write(folder, 5000)

    shipped = ship().shipped

    assert numbers(receiver)[-1] == 5000
    assert numbers(receiver)[:100] == list(range(100))
    assert (shipped.unreadable, [kind for kind, _ in told]) == (1, ["unreadable app.jsonl"])


def test_an_unfinished_line_waits(ship: Ship, receiver: Receiver, folder: Path) -> None:
    """A write that is seen half is not shipped half."""
    whole = line(1)
    (folder / "app.jsonl").write_bytes(whole[:40])
    ship()
    (folder / "app.jsonl").write_bytes(whole)

    ship()

    assert numbers(receiver) == [1]


@pytest.mark.parametrize("bad", [(503, {}, b""), (429, {}, b""), (500, {}, b""), (408, {}, b""), "reset"], ids=str)
def test_what_a_receiver_cannot_take_now_is_sent_again(
    ship: Ship, receiver: Receiver, folder: Path, bad: Reply | str
) -> None:
    """Until it is taken: nothing lost, nothing doubled, the order kept."""
    write(folder, *range(1200))
    receiver.answer = lambda _path, _message: bad if receiver.asked % 3 else TAKEN

    shipper = ship(LOGS_ONLY)

    assert numbers(receiver) == list(range(1200))
    assert receiver.asked > 3
    assert shipper.trouble is None


def test_retry_after_is_honoured(ship: Ship, receiver: Receiver, folder: Path) -> None:
    """The same request comes no sooner."""
    write(folder, 1)
    asked = []

    def answer(_path: str, _message: Any) -> Reply:
        asked.append(time.monotonic())
        return (429, {"Retry-After": "1"}, b"") if len(asked) == 1 else TAKEN

    receiver.answer = answer

    ship(LOGS_ONLY)

    assert asked[1] - asked[0] >= 1
    assert numbers(receiver) == [1]


def test_413_splits_the_batch(ship: Ship, receiver: Receiver, folder: Path, told: Told) -> None:
    """Down to what the receiver takes; a single record that is too large is kept aside."""
    write(folder, *range(300))
    with (folder / "app.jsonl").open("ab") as file:
        file.write(line(300, fields={"seq": 300, "text": "x" * 50_000}))
    write(folder, *range(301, 350))
    receiver.answer = lambda _path, message: (413, {}, b"") if message.ByteSize() > 20_000 else TAKEN

    shipped = ship(LOGS_ONLY).shipped

    assert numbers(receiver) == [*range(300), *range(301, 350)]
    assert shipped.parked == 1
    assert [kind for kind, _ in told] == ["refused logs"]


def test_refused_batches_are_kept_where_they_can_be_shipped_from(
    ship: Ship, receiver: Receiver, folder: Path, told: Told
) -> None:
    """Other 4xx: the lines go to a dead-letter file, which says so, and is a log of its own."""
    write(folder, *range(600))
    receiver.answer = lambda _path, _message: (400, {}, b"") if receiver.asked == 1 else TAKEN

    shipped = ship(LOGS_ONLY).shipped

    dead = folder / ".spool" / "dead-letters" / "logs" / "app.jsonl"
    assert dead.read_bytes() == b"".join(map(line, range(512)))
    assert dead.stat().st_mode & 0o777 == 0o600
    assert numbers(receiver) == list(range(512, 600))
    assert (shipped.parked, [kind for kind, _ in told]) == (512, ["refused logs"])
    assert str(dead) in told[0][1]


def test_partial_success_is_counted_and_not_sent_again(
    ship: Ship, receiver: Receiver, folder: Path, told: Told
) -> None:
    """As the specification wants it."""
    write(folder, 1, 2, 3)
    receiver.answer = lambda _path, _message: partly(2, "too old")

    shipped = ship(LOGS_ONLY).shipped

    assert (shipped.rejected, receiver.asked) == (2, 1)
    assert "too old" in told[0][1]


def test_the_checkpoint_moves_after_the_acknowledgement_only(ship: Ship, receiver: Receiver, folder: Path) -> None:
    """A receiver that takes nothing leaves it where it was, and all comes with the next start."""
    write(folder, *range(600))
    receiver.answer = lambda _path, _message: TAKEN if receiver.asked == 1 else (503, {}, b"")
    ship(LOGS_ONLY, patience=0.1)
    kept = load(Folders.of(str(folder)))["app.jsonl"]
    receiver.answer = lambda _path, _message: TAKEN

    ship(LOGS_ONLY)

    assert kept.offset == sum(len(line(number)) for number in range(512))
    assert numbers(receiver) == list(range(600))


def test_a_checkpoint_that_is_none_is_kept_and_told(ship: Ship, receiver: Receiver, folder: Path, told: Told) -> None:
    """All is shipped again rather than something not."""
    write(folder, 1)
    (folder / ".spool").mkdir()
    (folder / ".spool" / "ship.json").write_bytes(b"{")

    ship()

    assert numbers(receiver) == [1]
    assert [kind for kind, _ in told] == ["checkpoint"]
    assert (folder / ".spool" / "ship.json.bad").exists()


def test_one_process_leads(ship: Ship, receiver: Receiver, folder: Path) -> None:
    """A second one ships nothing while the first has the lock; it does as soon as that has ended."""
    write(folder, 1)
    leader = Shipper(Folders.of(str(folder)), destinations({}, receiver.url), {}, lambda *_said: None)
    assert leader._lead()

    ship()
    assert numbers(receiver) == []
    leader.abandon()
    ship()

    assert numbers(receiver) == [1]


def test_standard_variables_are_honoured(ship: Ship, receiver: Receiver, folder: Path) -> None:
    """Headers, compression, and which signals."""
    write(folder, 1)

    ship({**LOGS_ONLY, "OTEL_EXPORTER_OTLP_HEADERS": "x-key=a%20b,y=2", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"})

    (headers,) = receiver.headers
    assert (headers["x-key"], headers["y"], headers["Content-Encoding"]) == ("a b", "2", "gzip")


def test_segments_are_kept_until_they_are_shipped_up_to_a_bound(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Ten times ``LOG_BACKUPS``; before one is deleted that was not shipped, a notice."""
    write(folder, 1)
    Shipper(Folders.of(str(folder)), destinations({}), {}, lambda *_said: None)._lead()
    shipper = Shipper(Folders.of(str(folder)), destinations({}), {}, lambda *_said: None)
    shipper._lead()
    shipper._find_logs()
    shipper.abandon()
    log = Log(Folders.of(str(folder)), "app.jsonl", Settings(backups=2))
    _archive.notice._seen.clear()

    kept = []
    for number in range(1, 25):
        write(folder, number)
        closed(folder, number)
        Archiver(lambda: [log])._prune(log)
        kept.append(sorted(segment.number for segment in closed_segments(str(folder), "app.jsonl")))

    assert kept[19] == list(range(1, 21))
    assert kept[23] == list(range(5, 25))
    assert [record.message[:27] for record in caplog.records] == ["segments of app.jsonl befor"]


def test_segments_are_kept_before_the_first_checkpoint_of_the_thread(folder: Path) -> None:
    """It comes a moment after the first event."""
    for number in range(1, 8):
        write(folder, number)
        closed(folder, number)
    log = Log(Folders.of(str(folder)), "app.jsonl", Settings(backups=2, otlp_endpoint="http://127.0.0.1:9"))

    Archiver(lambda: [log])._prune(log)

    assert len(list(closed_segments(str(folder), "app.jsonl"))) == 7


def test_segments_that_are_shipped_are_pruned_as_ever(ship: Ship, folder: Path) -> None:
    """And all of them where nobody ships."""
    for number in range(1, 8):
        write(folder, number)
        closed(folder, number)
    ship(LOGS_ONLY, patience=0)
    log = Log(Folders.of(str(folder)), "app.jsonl", Settings(backups=2))

    Archiver(lambda: [log])._prune(log)

    assert sorted(segment.number for segment in closed_segments(str(folder), "app.jsonl")) == [6, 7]


def test_the_thread_ships_what_the_process_logs_and_nothing_of_its_own(
    logs: Logs, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``LOG_OTLP_ENDPOINT``, at DEBUG with all hosts tapped: no record tells of the shipper's requests."""
    monkeypatch.setenv("LOG_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    monkeypatch.setenv("OPENROUTER_TAP_HOSTS", "*")
    instrument()
    logger = cipherlog_core.start("app")
    for seq in range(1000):
        logger.event("numbered", seq=seq)
    receiver.wait_for(lambda: len(receiver.logs) >= 1000)
    logging.getLogger("urllib3.connectionpool").debug("of another thread")
    logger.event("numbered", seq=1000)

    assert cipherlog_core.stop(5)
    uninstrument()

    assert {path.name for path in logs.folder.glob("*.jsonl")} == {"app.jsonl"}  # no call was recorded
    assert [record["seq"] for record in receiver.logs if record[""].event_name == "numbered"] == list(range(1001))
    assert [one[""].body.string_value for one in receiver.logs if one["scope"].startswith("urllib3")] == [
        "of another thread"
    ]


def test_only_the_shipping_thread_is_kept_out_of_the_logs() -> None:
    """By one filter however often it starts anew, and not by its number, which the next thread may get."""
    logger = logging.getLogger("urllib3.connectionpool")
    before = list(logger.filters)
    kept: list[object] = []

    def log() -> None:
        _background._keep_out_of_the_logs()
        kept.append(logger.filter(logger.makeRecord("urllib3", logging.INFO, "", 0, "", (), None)))

    for name in ("cipherlog-shipper", "other"):
        thread = threading.Thread(target=log, name=name)
        thread.start()
        thread.join()

    assert list(map(bool, kept)) == [False, True]
    assert len(set(logger.filters) - set(before)) <= 1
    logger.filters[:] = before


def test_a_missing_extra_is_told(tmp_path: Path) -> None:
    """Once, with what to install; the log is written all the same."""
    code = """
import sys, time
sys.modules["urllib3"] = None
import cipherlog_core
cipherlog_core.start("app").event("numbered", seq=1)
time.sleep(0.5)
"""
    environ = {**os.environ, "LOG_DIR": str(tmp_path), "LOG_OTLP_ENDPOINT": "http://127.0.0.1:9"}

    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, timeout=30, check=False)

    assert done.returncode == 0
    log = (tmp_path / "app.jsonl").read_text()
    assert log.count("numbered") == 1
    assert log.count("urllib3 is missing: pip install 'openrouter-tap[otlp]'") == 1
