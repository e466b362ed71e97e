from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from conftest import Logs

import cipherlog_core
from cipherlog_core import Settings, bind

KEYS = [
    "schema",
    "id",
    "ts",
    "level",
    "logger",
    "event",
    "pid",
    "thread",
    "server",
    "tool",
    "session_id",
    "request_id",
    "fields",
]


class Fact(msgspec.Struct):
    name: str
    size: int | None = None


class UnprintableError(Exception):
    def __repr__(self) -> str:
        raise RuntimeError


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __repr__
    __hash__ = None

    def __bool__(self) -> bool:
        raise RuntimeError


RECURSING: list[object] = []
for _ in range(3000):
    RECURSING = [RECURSING]


@pytest.fixture(autouse=True)
def fresh_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cipherlog_core._settings.notice._seen", set())


def test_every_record_has_every_key(logs: Logs) -> None:
    """The keys of the schema, with null for what is not known."""
    before = datetime.now(UTC)
    assert cipherlog_core.start("app").event("hello", a=1)

    (record,) = logs.read("app")
    assert sorted(record) == sorted(KEYS)
    ts = record.pop("ts")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", ts)
    assert before <= datetime.fromisoformat(ts) <= datetime.now(UTC)
    assert re.fullmatch(r"\d{16}[0-9a-f]{13}", record.pop("id"))
    assert record.pop("server") is not None
    assert record == {
        "schema": 1,
        "level": "INFO",
        "logger": "app",
        "event": "hello",
        "pid": os.getpid(),
        "thread": "MainThread",
        "tool": None,
        "session_id": None,
        "request_id": None,
        "fields": {"a": 1},
    }


def test_ids_are_unique_and_sortable(logs: Logs) -> None:
    """Over threads too; within a thread they sort as they were made."""
    logger = cipherlog_core.start("app")
    threads = [threading.Thread(target=lambda: [logger.event("x") for _ in range(500)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    records = logs.read("app")
    assert len({record["id"] for record in records}) == 1500
    for name in {record["thread"] for record in records}:
        ids = [record["id"] for record in records if record["thread"] == name]
        assert ids == sorted(ids)


def test_the_name_of_a_thread_is_the_current_one(logs: Logs) -> None:
    """A thread that is renamed is logged under its new name."""
    logger = cipherlog_core.start("app")

    def work() -> None:
        logger.event("one")
        threading.current_thread().name = 'b "quoted"'
        logger.event("two")

    thread = threading.Thread(target=work, name="a")
    thread.start()
    thread.join()

    assert [record["thread"] for record in logs.read("app")] == ["a", 'b "quoted"']


def test_context_and_keywords(logs: Logs) -> None:
    """Ids fill the head, other context goes to the fields, and explicit keywords win."""
    logger = cipherlog_core.start("app")
    with bind(session_id="s", tool="t", user="u", step=1):
        logger.event("a", step=2)
        logger.event("b", session_id="mine", request_id="r")
        logger.event("c", other=3)

    found = [(r["session_id"], r["tool"], r["request_id"], r["fields"]) for r in logs.read("app")]
    assert found == [
        ("s", "t", None, {"user": "u", "step": 2}),
        ("mine", "t", "r", {"user": "u", "step": 1}),
        ("s", "t", None, {"user": "u", "step": 1, "other": 3}),
    ]


def test_a_field_may_have_the_name_of_a_parameter(logs: Logs) -> None:
    """Through *fields*, whose names are free."""
    cipherlog_core.start("app").event("x", level="ERROR", a=1, fields={"level": 3, "session_id": "f"})

    (record,) = logs.read("app")
    assert (record["level"], record["session_id"]) == ("ERROR", None)
    assert record["fields"] == {"a": 1, "level": 3, "session_id": "f"}


@pytest.mark.parametrize(("level", "name"), [("warn", "WARNING"), (40, "ERROR"), ("critical", "CRITICAL")])
def test_levels_in_other_spellings(level: object, name: str, logs: Logs) -> None:
    """Whatever `logging` understands."""
    cipherlog_core.start("app").event("x", level=level)

    assert [record["level"] for record in logs.read("app")] == [name]


def test_an_unknown_level_is_info_and_told(logs: Logs, caplog: pytest.LogCaptureFixture) -> None:
    """The event is not lost for a typing error."""
    logger = cipherlog_core.start("app")
    assert [logger.event("x", level="loud"), logger.event("x", level="loud")] == [True, True]

    assert [record["level"] for record in logs.read("app")] == ["INFO", "INFO"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_below_the_level_nothing_is_written(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """``LOG_LEVEL`` filters `Logger.event` and never typed events."""
    monkeypatch.setenv("LOG_LEVEL", "ERROR")
    logger = cipherlog_core.start("app")
    channel = cipherlog_core.channel("app", Fact, event="fact")
    assert [logger.event("x", level=level) for level in ("WARNING", "ERROR")] == [False, True]
    assert channel.emit(Fact("n"))

    assert [record["event"] for record in logs.read("app")] == ["x", "fact"]
    assert cipherlog_core.stats().files["app.jsonl"].dropped == 0


def test_typed_events_take_only_the_ids_from_the_context(logs: Logs) -> None:
    """The struct is the fields; ids default to the context, and None is null."""
    channel = cipherlog_core.channel("facts", Fact, event="fact", logger="tests")
    with bind(session_id="s", user="u"):
        assert channel.emit(Fact("a", 1))
        assert channel.emit(Fact("b"), session_id=None, tool="t")

    records = logs.read("facts")
    assert [(r["event"], r["logger"], r["session_id"], r["tool"], r["fields"]) for r in records] == [
        ("fact", "tests", "s", None, {"name": "a", "size": 1}),
        ("fact", "tests", None, "t", {"name": "b", "size": None}),
    ]


def test_a_struct_that_cannot_be_encoded_is_written_all_the_same(logs: Logs) -> None:
    """A lone surrogate, a complex number: the line is valid and the event there."""
    channel = cipherlog_core.channel("facts", Fact)
    assert channel.emit(Fact("\ud800"))
    assert channel.emit(Fact("n", Fact("\ud801", 1j)))

    assert [r["fields"] for r in logs.read("facts")] == [
        {"name": "\\ud800", "size": None},
        {"name": "n", "size": {"name": "\\ud801", "size": "1j"}},
    ]


def test_no_line_is_longer_than_256_kib(logs: Logs) -> None:
    """Long texts are cut and marked; the record keeps its keys."""
    logger = cipherlog_core.start("app")
    channel = cipherlog_core.channel("facts", Fact)
    logger.event("x" * 5000, session_id="s" * 5000, text="y" * 300_000, short="z")
    channel.emit(Fact("y" * 300_000, 7))

    (record,), (fact,) = logs.read("app"), logs.read("facts")
    assert [len(record["event"]), len(record["session_id"]), record["fields"]["short"]] == [1024, 1024, "z"]
    assert record["fields"]["text"].endswith("…[234496 bytes cut]")
    assert fact["fields"] == {"name": "y" * 65504 + "…[234496 bytes cut]", "size": 7}
    for path in logs.folder.glob("*.jsonl"):
        assert all(len(line) <= 1 << 18 for line in path.read_bytes().splitlines(keepends=True))


def test_what_cannot_be_logged_is_counted_and_told(
    logs: Logs, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault inside the logger never reaches the caller."""
    logger = cipherlog_core.start("app")

    def fail(*_: object) -> None:
        raise UnprintableError

    with monkeypatch.context() as patch:
        patch.setattr("cipherlog_core._record.head", fail)
        assert not logger.event("x", fields={"a": 7})

    assert cipherlog_core.stats().files["app.jsonl"].dropped == 1
    assert "could not be logged" in caplog.text
    logger.event("y")
    assert logs.read("app")[-1]["event"] in ("y", "records_dropped")


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("my server/1", "my_server_1"),
        ("../up", "server-.._up"),
        ("", "server"),
        ("openrouter-costs", "server-openrouter-costs"),
        ("x" * 60, "x" * 48),
        ("line\nbreak", "line_break"),
        ("openrouter-costs-20260101T000000Z-000001", "openrouter-costs_20260101T000000Z-000001"),
    ],
)
def test_a_bad_server_name_is_replaced_and_told(
    given: str, used: str, logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    """The program starts and logs; a notice names the file."""
    assert cipherlog_core.start(given).event("x")

    assert [record["event"] for record in logs.read(used)] == ["x"]
    assert f"{used}.jsonl" in caplog.text


@pytest.mark.parametrize("stem", ["../up", "a/b", "", ".hidden", "x" * 49, "a b"])
def test_a_bad_stem_of_a_channel_is_refused(stem: str) -> None:
    """At set-up, with what it may be."""
    with pytest.raises(ValueError, match="a log's name is 1 to 48 of"):
        cipherlog_core.channel(stem, Fact)


def test_a_name_that_cannot_even_be_printed(logs: Logs) -> None:
    """It is replaced as any other."""

    class Odd:
        def __str__(self) -> str:
            raise RuntimeError

    assert cipherlog_core.start(Odd()).event("x")
    assert [record["event"] for record in logs.read("_Odd_")] == ["x"]


def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    """Nothing is raised; events are taken into memory and it is told that they cannot be written."""
    code = """
import os, tempfile, logging
folder = tempfile.mkdtemp(); os.chdir(folder); os.rmdir(folder)
os.environ.pop("LOG_DIR", None)
import cipherlog_core
logger = cipherlog_core.start("app")
print(logger.event("x"), cipherlog_core.stats().durable, cipherlog_core.stop(0.1))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True False False\n"
    assert "its events wait in memory only" in done.stderr


def test_settings_in_code_win_over_the_environment(logs: Logs) -> None:
    """And a second start of a name gives the same logger."""
    settings = Settings.from_env(level="DEBUG", dir=str(logs.folder / "other"))
    logger = cipherlog_core.start("app", settings=settings)
    assert cipherlog_core.start("app") is logger
    assert logger.event("x", level="DEBUG")
    assert cipherlog_core.stop()

    (line,) = (logs.folder / "other" / "app.jsonl").read_text().splitlines()
    assert json.loads(line)["level"] == "DEBUG"
    cipherlog_core.start("app")  # so that the next test has the environment's again


@pytest.mark.parametrize("is_json", [True, False], ids=["json", "text"])
@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("e", {"level": ["x"]}),
        ("e", {"level": 10**5000}),
        ("e", {"level": "9" * 5000}),
        ("e", {"level": Unprintable()}),
        (["I"], {}),
        (Unprintable(), {}),
        (10**5000, {"a": RECURSING}),
        ("\ud800x", {}),
        ("http", {"level": "DEBUG", "session_id": Unprintable()}),
        ("e", {"fields": 7}),
        ("e", {"fields": [("a", Unprintable())], "b": {Unprintable}}),
        ("e", {"session_id": 10**5000, "tool": Unprintable(), "request_id": "\udfff"}),
    ],
    ids=range(12),
)
def test_an_event_is_logged_whatever_is_passed(
    name: object, given: dict[str, object], is_json: bool, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be hashed, printed or encoded is written as far as it can be; nothing is lost or dropped."""
    for variable, value in (("LOG_JSON", is_json), ("LOG_LEVEL", "DEBUG"), ("LOG_SAMPLE_HTTP", 1)):
        monkeypatch.setenv(variable, str(value))
    logger = cipherlog_core.start("odd")
    assert logger.event(name, mark=77, **given)
    assert cipherlog_core.flush()

    if is_json:
        (record,) = [record for record in logs.read("odd") if record["fields"].get("mark") == 77]
        assert record["level"] == given.get("level", "INFO") or record["level"] == "INFO"
    else:
        assert " mark=77" in (logs.folder / "odd.log").read_text()
    assert cipherlog_core.stop()


@pytest.mark.parametrize("name", ["log", "routing", "records_dropped", "openrouter_cost"])
def test_the_names_of_typed_events_are_theirs(name: str, logs: Logs, caplog: pytest.LogCaptureFixture) -> None:
    """Their fields have a schema, which an event of one's own would break: it is written under another name."""
    logger = cipherlog_core.start("app")
    assert [logger.event(name, dropped="x", message=5) for _ in range(2)] == [True, True]

    assert [record["event"] for record in logs.read("app")] == [f"{name}_"] * 2
    assert len(caplog.records) == 1


def test_what_is_cut_in_depth_is_counted(logs: Logs) -> None:
    """As a text that is cut."""
    before = cipherlog_core.stats().cut
    cipherlog_core.start("app").event("x", deep=RECURSING)

    assert "…" in str(logs.read("app")[0]["fields"])
    assert cipherlog_core.stats().cut == before + 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"is_compliant": 1, "status": 3}, {"is_compliant": True, "status": "3"}),
        ({"is_compliant": "yes", "selected_tool": ["a"]}, {"is_compliant": None, "selected_tool": "['a']"}),
        ({"is_compliant": Unprintable(), "status": Unprintable()}, {"is_compliant": None, "status": "<Unprintable>"}),
    ],
    ids=range(3),
)
def test_a_routing_event_of_other_kinds(given: dict[str, object], expected: dict[str, object], logs: Logs) -> None:
    """What is no text becomes one; what is no boolean is null."""
    assert cipherlog_core.routing_event(**given)

    (record,) = logs.read("routing-metadata")
    assert {name: record["fields"][name] for name in expected} == expected


def test_a_big_routing_event(logs: Logs) -> None:
    """Its text is cut as any other."""
    assert cipherlog_core.routing_event(status=list(range(60_000)), selected_tool="t")

    (record,) = logs.read("routing-metadata")
    assert record["fields"]["selected_tool"] == "t"
    assert record["fields"]["status"].endswith("bytes cut]")


def test_a_struct_of_odd_values(logs: Logs) -> None:
    """A number of 100 digits, a structure without an end."""
    channel = cipherlog_core.channel("facts", Fact)
    assert channel.emit(Fact("a", 10**100))
    assert channel.emit(Fact("b", RECURSING))

    assert [record["fields"]["name"] for record in logs.read("facts")] == ["a", "b"]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_loggers_and_channels_are_copied_and_pickled_by_name(copied: Callable[[object], object], logs: Logs) -> None:
    """As a `logging.Logger`: what holds one can be copied, or sent to another process, and logs to the same file."""
    held = {"logger": cipherlog_core.start("app"), "facts": cipherlog_core.channel("facts", Fact, event="fact")}
    new = copied(held)
    assert new["logger"].event("e")
    assert new["facts"].emit(Fact("n"))

    assert copied(held["logger"]) is held["logger"]
    assert [record["event"] for name in ("app", "facts") for record in logs.read(name)] == ["e", "fact"]
