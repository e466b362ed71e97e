from __future__ import annotations

import logging
import logging.config
import logging.handlers
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Logs, checked

import cipherlog_core
from cipherlog_core import CipherHandler, bind

log = logging.getLogger("shop.orders")


@pytest.fixture(autouse=True)
def started(logs: Logs) -> Iterator[cipherlog_core.Logger]:
    """A server whose `start` has bridged the root logger."""
    yield cipherlog_core.start("app")
    cipherlog_core.stop()


def records(logs: Logs, name: str = "app") -> list[dict[str, object]]:
    return [record for record in logs.read(name) if record["event"] == "log"]


def test_a_plain_record_is_of_the_same_schema(logs: Logs) -> None:
    """Message and extras are fields; the logger's own name stands in the record."""
    log.info("order %s paid", 7, extra={"amount": 12.5, "currency": "EUR"})

    (record,) = records(logs)
    assert (record["level"], record["logger"], record["server"], record["thread"]) == (
        "INFO",
        "shop.orders",
        "app",
        "MainThread",
    )
    assert record["fields"] == {"message": "order 7 paid", "amount": 12.5, "currency": "EUR"}


def test_ids_come_from_extra_and_else_from_the_context(logs: Logs) -> None:
    """They fill the record's own keys; other context goes to the fields."""
    with bind(session_id="s", user="u"):
        log.info("a")
        log.info("b", extra={"session_id": "mine", "tool": "t"})

    found = [(r["session_id"], r["tool"], r["fields"]) for r in records(logs)]
    assert found == [("s", None, {"user": "u", "message": "a"}), ("mine", "t", {"user": "u", "message": "b"})]


def test_an_exception_is_data(logs: Logs) -> None:
    """Type, message, stack and cause, in place of a text of many lines."""
    try:
        try:
            {}["k"]
        except KeyError as error:
            raise ValueError("bad order") from error
    except ValueError:
        log.exception("failed")

    (record,) = records(logs)
    exc = record["fields"]["exc"]
    assert (record["level"], exc["type"], exc["message"], exc["cause"]["type"]) == (
        "ERROR",
        "ValueError",
        "bad order",
        "KeyError",
    )
    assert f"{__file__}:" in exc["stack"][0]


def test_an_exception_in_an_event(logs: Logs, started: cipherlog_core.Logger) -> None:
    """The same form, whatever the field is called."""
    started.event("failed", level="ERROR", exc=ValueError("bad"))

    (record,) = logs.read("app")
    assert record["fields"]["exc"] == {"type": "ValueError", "message": "bad", "stack": [], "cause": None}


def test_arguments_that_do_not_fit_lose_nothing(logs: Logs, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the standard handler prints a traceback and drops the record."""
    handlers = [handler for handler in logging.getLogger().handlers if not isinstance(handler, CipherHandler)]
    for handler in handlers:
        logging.getLogger().removeHandler(handler)
    log.info("%d of %d", "x")
    for handler in handlers:
        logging.getLogger().addHandler(handler)

    assert [record["fields"]["message"] for record in records(logs)] == ["%d of %d ('x')"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("number", "level"), [(5, "DEBUG"), (25, "INFO"), (35, "WARNING"), (70, "CRITICAL")])
def test_levels_of_ones_own(number: int, level: str, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record has the highest of the five that it reaches."""
    cipherlog_core.stop()
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    cipherlog_core.start("app").threshold = 0
    logging.getLogger("own").setLevel(1)
    logging.getLogger("own").log(number, "x")

    assert [record["level"] for record in records(logs)] == [level]


def test_the_level_is_that_of_the_settings(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The root logger lets through what ``LOG_LEVEL`` asks for, and is put back by `stop`."""
    root = logging.getLogger()
    cipherlog_core.stop()
    before = root.level
    for level, expected in (("WARNING", ["w"]), ("DEBUG", ["w", "d", "i", "w"])):
        monkeypatch.setenv("LOG_LEVEL", level)
        cipherlog_core.start("app")
        for name in "diw" if level == "DEBUG" else "iw":
            log.log({"d": 10, "i": 20, "w": 30}[name], name)
        assert cipherlog_core.flush()
        assert [record["fields"]["message"] for record in records(logs)] == expected
        cipherlog_core.stop()

        assert root.level == before
        assert not any(isinstance(handler, CipherHandler) for handler in root.handlers)


def test_a_second_start_bridges_nothing_twice(logs: Logs) -> None:
    """Neither of the same name nor of another."""
    cipherlog_core.start("app")
    cipherlog_core.start("other")
    log.info("once")

    assert [record["fields"]["message"] for record in records(logs)] == ["once"]
    assert records(logs, "other") == []


def test_a_start_in_the_middle_of_a_dict_config_doubles_no_record(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has emptied the root logger is about to put a handler on it."""
    start = threading.Thread(target=cipherlog_core.start, args=("app",))

    def emptied(self: logging.Logger, handler: logging.Handler) -> None:
        logging.Logger.removeHandler(self, handler)
        if isinstance(handler, CipherHandler):
            start.start()
            start.join(0.3)  # it waits for the end of the configuration

    root = logging.getLogger()
    before = [handler for handler in root.handlers if not isinstance(handler, CipherHandler)]
    with monkeypatch.context() as patch:
        patch.setattr(logging.RootLogger, "removeHandler", emptied, raising=False)
        ours = {"class": "cipherlog_core.CipherHandler", "server": "app"}
        config = {"handlers": {"ours": ours}, "root": {"handlers": ["ours"], "level": "INFO"}}
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, **config})
    start.join()
    log.info("once")
    root.handlers[:] = before

    assert [record["fields"]["message"] for record in records(logs)] == ["once"]


def test_dict_config(logs: Logs) -> None:
    """A handler of its own server, without any start, for one logger and its children."""
    cipherlog_core.stop()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"cipher": {"class": "cipherlog_core.CipherHandler", "server": "api", "level": "INFO"}},
            "loggers": {"shop": {"handlers": ["cipher"], "level": "DEBUG", "propagate": False}},
        }
    )
    log.info("kept")
    log.debug("below the handler's level")
    logging.getLogger("shop").handlers.clear()
    logging.getLogger("shop").propagate = True

    assert [(r["server"], r["fields"]["message"]) for r in records(logs, "api")] == [("api", "kept")]


@pytest.mark.parametrize(
    ("own", "of_settings", "kept"),
    [("DEBUG", "INFO", "diw"), ("INFO", "WARNING", "iw"), ("WARNING", "DEBUG", "w"), ("NOTSET", "WARNING", "w")],
)
def test_a_level_of_the_handler_s_own(
    own: str, of_settings: str, kept: str, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands for that of the settings; where it has none, that holds."""
    cipherlog_core.stop()
    monkeypatch.setenv("LOG_LEVEL", of_settings)
    handler = CipherHandler(f"own-{own}", own)
    for name, level in {"d": logging.DEBUG, "i": logging.INFO, "w": logging.WARNING}.items():
        handler.handle(logging.LogRecord("own", level, "f", 1, name, (), None))

    assert [record["fields"]["message"] for record in records(logs, f"own-{own}")] == [*kept]


def test_behind_a_queue_listener(logs: Logs) -> None:
    """Time, thread and process are those of the record, not of the listener's thread."""
    waiting: queue.Queue[logging.LogRecord] = queue.Queue()
    handler = logging.handlers.QueueHandler(waiting)
    quiet = logging.getLogger("queued")
    quiet.propagate, quiet.level = False, logging.INFO
    quiet.addHandler(handler)
    thread = threading.Thread(target=lambda: quiet.info("from afar", extra={"session_id": "s"}), name="producer")
    thread.start()
    thread.join()
    made = waiting.queue[0].created
    listener = logging.handlers.QueueListener(waiting, CipherHandler("app"))
    listener.start()
    listener.stop()
    quiet.removeHandler(handler)

    (record,) = records(logs)
    assert (record["thread"], record["session_id"], record["fields"]["message"]) == ("producer", "s", "from afar")
    assert abs(int(record["id"][:16]) - made * 1e6) <= 1


def test_a_record_of_another_process(logs: Logs) -> None:
    """It keeps its pid."""
    record = logging.LogRecord("child", logging.INFO, "f", 1, "x", (), None)
    record.process = 4711
    CipherHandler("app").handle(record)

    assert [found["pid"] for found in records(logs)] == [4711]


def test_http_records_at_debug_are_sampled(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the HTTP libraries' loggers, their children too; for one session all or none."""
    cipherlog_core.stop()
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    monkeypatch.setenv("LOG_SAMPLE_HTTP", "5")
    cipherlog_core.start("app")
    for name in ("httpx", "httpcore.http11", "httpx2", "httpcore2.connection"):
        for _ in range(25):
            logging.getLogger(name).debug("x")
    for number in range(40):
        with bind(session_id=f"s{number}"):
            logging.getLogger("httpx").debug("y")
            logging.getLogger("httpcore").debug("y")
    logging.getLogger("httpx").info("never sampled")
    log.debug("never sampled")

    found = records(logs)
    assert len([r for r in found if r["fields"]["message"] == "x"]) == 20
    assert all(r["fields"]["sample_weight"] == 5 for r in found if r["fields"]["message"] in "xy")
    sessions = [r["session_id"] for r in found if r["fields"]["message"] == "y"]
    assert sessions
    assert all(sessions.count(session) == 2 for session in sessions)
    assert [r["fields"] for r in found if r["fields"]["message"] == "never sampled"] == [
        {"message": "never sampled"}
    ] * 2


def test_filters_are_asked(logs: Logs) -> None:
    """As with any handler."""
    handler = CipherHandler("app")
    handler.addFilter(lambda record: "secret" not in record.getMessage())
    for message in ("a secret", "no"):
        handler.handle(logging.LogRecord("x", logging.INFO, "f", 1, message, (), None))

    assert [record["fields"]["message"] for record in records(logs)] == ["no"]


def test_the_name_where_none_is_given(tmp_path: Path) -> None:
    """Of the process's first start, else of the service, else of the program."""
    script = tmp_path / "my_service.py"
    script.write_text(
        "import logging, cipherlog_core\nlogging.getLogger().addHandler(cipherlog_core.CipherHandler())\n"
        "logging.warning('x')\n"
    )
    for name, more in (("my_service", {}), ("billing", {"OTEL_SERVICE_NAME": "billing"})):
        environment = {**os.environ, **more, "LOG_DIR": str(tmp_path / "logs")}
        subprocess.run([sys.executable, "-W", "error", str(script)], env=environment, check=True, timeout=60)

        (line,) = (tmp_path / "logs" / f"{name}.jsonl").read_bytes().splitlines()
        assert checked(line)["fields"] == {"message": "x"}


def test_text_logs_take_records_too(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """``LOG_JSON=false``: a line with a traceback below it."""
    cipherlog_core.stop()
    monkeypatch.setenv("LOG_JSON", "false")
    cipherlog_core.start("app")
    try:
        raise ValueError("bad")
    except ValueError:
        log.exception("failed", extra={"order": 7})
    assert cipherlog_core.flush()

    first, second, third = (logs.folder / "app.log").read_text().splitlines()
    assert first.endswith(" ERROR    shop.orders failed order=7")
    assert second == "    ValueError: bad"
    assert third.startswith(f"      at {__file__}:")


FORKED = """
import logging, multiprocessing, cipherlog_core

def child():
    logging.getLogger("worker").warning("in a child")

cipherlog_core.start("app")
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join(30)
print(process.pid)
"""


def test_in_a_forked_worker(logs: Logs) -> None:
    """The bridge works on in children."""
    environment = {**os.environ, "LOG_DIR": str(logs.folder)}
    forked = subprocess.run(
        [sys.executable, "-c", FORKED], env=environment, stdout=subprocess.PIPE, check=True, timeout=60
    )
    cipherlog_core.start("again")  # brings in what the child left, if it did

    (record,) = records(logs)
    assert (record["pid"], record["fields"]["message"]) == (int(forked.stdout), "in a child")


def test_a_handler_without_a_server_waits_for_the_first_start(tmp_path: Path) -> None:
    """What comes before goes to the program's name, what comes after to the server's log."""
    code = (
        "import logging, cipherlog_core\nlogging.getLogger().addHandler(cipherlog_core.CipherHandler())\n"
        "logging.warning('a')\ncipherlog_core.start('api')\nlogging.warning('b')\n"
    )
    (tmp_path / "script.py").write_text(code)
    environment = {**os.environ, "LOG_DIR": str(tmp_path / "logs")}
    subprocess.run([sys.executable, str(tmp_path / "script.py")], env=environment, check=True, timeout=60)

    found = {path.stem: path.read_text() for path in (tmp_path / "logs").glob("*.jsonl")}
    assert ['"a"' in found["script"], '"b"' in found["script"], '"b"' in found["api"]] == [True, False, True]
