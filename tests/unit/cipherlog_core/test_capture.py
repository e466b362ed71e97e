"""`capture`: what a program logs, in process and without a file."""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path

import pytest
from conftest import Logs, checked
from msgspec import Struct

import cipherlog_core
from cipherlog_core import Settings, bind, channel, routing_event
from cipherlog_core._pipeline import PIPELINE
from cipherlog_core.testing import capture


class Priced(Struct):
    price: float


prices = channel("capture-prices", Priced, event="priced")


def test_every_kind_of_logger_is_captured_and_nothing_is_on_disk(logs: Logs) -> None:
    """Logger.event, logging and channels, started inside the block or never: valid records, no folder, no thread."""
    threads = threading.active_count()
    with capture() as records:
        logger = cipherlog_core.start("captured")
        with bind(session_id="s-1", user=7):
            assert logger.event("tool_called", tool="search")
        logging.getLogger("app").info("found %d", 7, extra={"index": "docs"})
        assert prices.emit(Priced(0.5))
        assert routing_event(status="ok")
        assert cipherlog_core.flush()

    assert [(record["event"], record["session_id"]) for record in records] == [
        ("tool_called", "s-1"),
        ("log", None),
        ("priced", None),
        ("routing", None),
    ]
    assert records[0]["fields"] == {"user": 7}
    assert records[1]["fields"] == {"message": "found 7", "index": "docs"}
    assert [checked(json.dumps(record).encode()) for record in records] == records
    assert not logs.folder.exists()
    assert threading.active_count() == threads


def test_logging_is_captured_without_a_start() -> None:
    """From INFO on, once; the root logger is afterwards as it was."""
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    with capture() as records:
        logging.getLogger("app").debug("quiet")
        logging.getLogger("app").info("loud")

    assert [(record["logger"], record["fields"]["message"]) for record in records] == [("app", "loud")]
    assert (root.level, root.handlers) == before


def test_the_root_logger_is_left_alone_where_that_is_wanted() -> None:
    """Not bridged: no level, no handler, no record of `logging`."""
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    with capture(bridged=False) as records:
        assert (root.level, root.handlers) == before
        logging.getLogger("app").warning("loud")
        prices.emit(Priced(1))

    assert [record["event"] for record in records] == ["priced"]


def test_behind_the_block_all_goes_to_the_files_again(logs: Logs) -> None:
    """Of a log that was open before and one that was started inside; and what was captured is in no file."""
    before = cipherlog_core.start("before")
    before.event("one")
    with capture() as records:
        before.event("two")
        inside = cipherlog_core.start("inside")
        inside.event("three")
        prices.emit(Priced(1))
    before.event("four")
    inside.event("five")
    logging.getLogger("app").info("six")

    assert [record["event"] for record in records] == ["two", "three", "priced"]
    assert [record["event"] for record in logs.read("before")] == ["one", "four", "log"]
    assert [record["event"] for record in logs.read("inside")] == ["five"]
    assert logs.read("capture-prices") == []


def test_a_start_inside_leaves_the_bridge_as_ever(logs: Logs) -> None:
    """`logging` reaches the log after the block, and `stop` puts the root's level back."""
    level = logging.getLogger().level
    with capture():
        cipherlog_core.start("bridged")
    logging.getLogger("app").info("later")

    assert [record["fields"]["message"] for record in logs.read("bridged")] == ["later"]
    cipherlog_core.stop()
    assert logging.getLogger().level == level


def test_the_lines_of_a_text_log_are_records_too(logs: Logs) -> None:
    """LOG_JSON=false is about files; the file is text again after the block."""
    logger = cipherlog_core.start("text", settings=Settings.from_env(dir=str(logs.folder), json=False))
    with capture() as records:
        logger.event("inside", value=1)
    logger.event("outside")
    assert cipherlog_core.flush()

    assert [(record["event"], record["fields"]) for record in records] == [("inside", {"value": 1})]
    text = (logs.folder / "text.log").read_text()
    assert "outside" in text
    assert "inside" not in text


@pytest.mark.parametrize("json_", [True, False])
def test_what_was_dropped_before_is_told_in_the_file(json_: bool, logs: Logs) -> None:
    """Not in the block, whose records are those of the block."""
    logger = cipherlog_core.start("refused", settings=Settings.from_env(dir=str(logs.folder), json=json_))
    spool = PIPELINE.server_spool("refused")
    with capture() as records:
        spool.refuse()
        logger.event("inside")
        assert cipherlog_core.flush()
    assert cipherlog_core.flush()

    assert [record["event"] for record in records] == ["inside"]
    (path,) = logs.folder.glob("refused.*")
    assert "records_dropped" in path.read_text()


def test_blocks_nest(logs: Logs) -> None:
    """Each gets all that is logged while it is open."""
    logger = cipherlog_core.start("nested")
    with capture() as outer:
        logger.event("one")
        with capture() as inner:
            logger.event("two")
        logger.event("three")

    assert [record["event"] for record in outer] == ["one", "two", "three"]
    assert [record["event"] for record in inner] == ["two"]


def test_an_error_in_the_block_ends_it(logs: Logs) -> None:
    """It is not swallowed, and the next event goes to the file."""
    logger = cipherlog_core.start("raised")
    with pytest.raises(ZeroDivisionError), capture():
        raise ZeroDivisionError
    logger.event("after")

    assert [record["event"] for record in logs.read("raised")] == ["after"]


def test_many_threads_and_many_lines(logs: Logs) -> None:
    """More than a ring holds, from four threads: none is lost, none is on disk, and all that follows is."""
    logger = cipherlog_core.start("many")
    logger.event("before")

    def work(number: int) -> None:
        for count in range(2000):
            logger.event("line", number=number, count=count, text="x" * 500)

    with capture() as records:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    logger.event("after")

    assert sorted((one["fields"]["number"], one["fields"]["count"]) for one in records) == [
        (number, count) for number in range(4) for count in range(2000)
    ]
    assert [record["event"] for record in logs.read("many")] == ["before", "after"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_writes_no_file_either(logs: Logs) -> None:
    """A child of the block is in the block, with a list of its own."""
    with capture() as records:
        logger = cipherlog_core.start("forked")
        child = os.fork()
        if not child:
            kept = logger.event("in the child")
            os._exit(0 if kept and len(records) == 1 and not Path(logs.folder).exists() else 1)
        assert os.waitpid(child, 0)[1] == 0

    assert records == []
    assert not PIPELINE._takers
