"""Records of `logging` that nobody would make on purpose."""

from __future__ import annotations

import logging
import logging.handlers
import pickle
import sys
import time
from datetime import datetime

import pytest
from conftest import Logs
from test_stdlib import log, records, started

import cipherlog_core
from cipherlog_core import CipherHandler, bind

__all__ = ["started"]


class Bad:
    def __repr__(self) -> str:
        raise RuntimeError


class Recursing:
    def __str__(self) -> str:
        return str(self)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("A %s", Bad()), "A %s (<Bad>)"),
        (("B %r", 10**5000), "B %r (<int>)"),
        ((Bad(),), "<Bad>"),
        (("C %s", Recursing()), None),
        (("D %d %s", "x", Bad()), "D %d %s ('x', <Bad>)"),
    ],
    ids=range(5),
)
def test_a_message_that_cannot_be_printed(arguments: tuple[object, ...], message: str | None, logs: Logs) -> None:
    """It is written as far as it can be."""
    handled = logging.LogRecord("x", logging.INFO, "f", 1, arguments[0], arguments[1:], None)
    assert CipherHandler("app").handle(handled)

    (record,) = records(logs)
    assert message in (record["fields"]["message"], None)


@pytest.mark.parametrize("is_json", [True, False], ids=["json", "text"])
@pytest.mark.parametrize(
    "given",
    [
        {"name": None},
        {"name": ["x"]},
        {"name": "\ud800n"},
        {"process": '1,"pid":"evil'},
        {"process": True},
        {"process": 10**5000},
        {"process": None},
        {"created": -1.5},
        {"created": 1e18},
        {"created": float("nan")},
        {"created": "now"},
        {"levelno": "20"},
        {"levelname": ["INFO"]},
        {"threadName": None},
        {"exc_info": True},
        {"exc_info": (1, 2)},
        {"stack_info": 5},
        {1: 2},
    ],
    ids=range(18),
)
def test_a_record_of_odd_make(
    given: dict[object, object], is_json: bool, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another program, over a socket, or through a filter: a line of the schema all the same."""
    cipherlog_core.stop()
    monkeypatch.setenv("LOG_JSON", str(is_json))
    cipherlog_core.start("odd")
    record = logging.makeLogRecord({"msg": "here", "levelno": 20, "levelname": "INFO", "mark": 77, **given})
    CipherHandler("odd").handle(record)
    assert cipherlog_core.stop()

    if is_json:
        (found,) = records(logs, "odd")
        assert (found["fields"]["message"], found["fields"]["mark"]) == ("here", 77)
        assert abs(datetime.fromisoformat(found["ts"]).timestamp() - time.time()) < 60
    else:
        assert " here mark=77" in (logs.folder / "odd.log").read_text()


@pytest.mark.parametrize("name", ["process", "created", "msecs", "name", "levelno", "threadName", "exc_info"])
def test_a_filter_that_deletes(name: str, logs: Logs) -> None:
    """What each record has may be missing; its extras are not."""
    record = logging.makeLogRecord({"name": "x", "msg": "here", "levelno": 20, "levelname": "INFO", "mark": 77})
    delattr(record, name)
    CipherHandler("app").handle(record)

    assert [(r["fields"]["message"], r["fields"]["mark"]) for r in records(logs)] == [("here", 77)]


def test_a_big_extra_costs_only_itself(logs: Logs) -> None:
    """Message and small extras are kept; of 20,000 extras as many as fit."""
    with bind(user="u"):
        log.info("important", extra={"rows": list(range(60_000)), "order": 7})
        log.info("important", extra={f"key {number}": number for number in range(20_000)})

    first, second = [record["fields"] for record in records(logs)]
    assert (first["message"], first["order"], first["user"]) == ("important", 7, "u")
    assert second["message"] == "important"
    assert len(second) > 5000


@pytest.mark.parametrize("value", ["mine", None, {"type": 1}])
@pytest.mark.parametrize("name", ["exc", "stack_info", "message"])
def test_names_that_are_ours(name: str, value: object, logs: Logs) -> None:
    """In ``extra`` or in what is bound they get a mark; an exception is one under any name."""
    with bind(**{name: value}):
        log.info("here")
    if name == "exc":  # logging refuses the others
        log.info("here", extra={name: value, "session_id": "s"})
    with bind(exc=ValueError("bound"), session_id="s"):
        log.info("here")

    *marked, last = records(logs)
    assert [record["fields"] for record in marked] == [{"message": "here", f"{name}_": value}] * len(marked)
    assert (last["fields"]["exc"]["message"], last["session_id"]) == ("bound", "s")


def test_an_exception_from_another_process(logs: Logs) -> None:
    """`SocketHandler` sends its text."""
    try:
        {}["k"]
    except KeyError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    sent = pickle.loads(logging.handlers.SocketHandler("localhost", 1).makePickle(record)[4:])
    CipherHandler("app").handle(logging.makeLogRecord(sent))

    (found,) = records(logs)
    exc = found["fields"]["exc"]
    assert (exc["type"], exc["message"], exc["stack"][0]) == ("KeyError", "'k'", "Traceback (most recent call last):")
