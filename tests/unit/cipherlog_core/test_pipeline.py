from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Logs, checked, content, delete

import cipherlog_core
from cipherlog_core import _ring
from cipherlog_core._folders import Folders
from cipherlog_core._pipeline import PIPELINE
from cipherlog_core._spool import Spool
from cipherlog_core._writer import Writer

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")


@pytest.fixture(autouse=True)
def fresh_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cipherlog_core._settings.notice._seen", set())


def run(code: str, folder: Path) -> str:
    """What a fresh interpreter prints, with the log folder *folder* and every warning an error."""
    environment = {**os.environ, "LOG_DIR": str(folder)}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout + done.stderr


def test_importing_does_nothing(tmp_path: Path) -> None:
    """No thread, no file, no folder, no network before the first event."""
    code = (
        "import sys; sys.addaudithook(lambda what, _: what.startswith('socket.') and print(what))\n"
        "import threading, httpx, openrouter_tap, cipherlog_core\n"
        "openrouter_tap.instrument(), openrouter_tap.tap_client(httpx.Client())\n"
        "print(threading.active_count())"
    )

    assert run(code, tmp_path / "logs") == "1\n"
    assert list(tmp_path.iterdir()) == []


def test_what_is_logged_at_the_end_is_written(tmp_path: Path) -> None:
    """Without any stop: at exit, in exit handlers before and after ours, and by threads that still run."""
    code = """
import atexit, threading, time, cipherlog_core
early = lambda: logger.event("registered before")
atexit.register(early)
logger = cipherlog_core.start("app")
atexit.register(lambda: logger.event("registered after"))
threading.Thread(target=lambda: (time.sleep(0.1), logger.event("thread"))).start()
logger.event("main")
"""
    assert run(code, tmp_path) == ""
    lines = (tmp_path / "app.jsonl").read_text().splitlines()
    events = [line.partition('"event":"')[2].partition('"')[0] for line in lines]
    assert events == ["main", "thread", "registered after", "registered before"]
    assert [path.name for path in (tmp_path / ".spool").iterdir()] == ["app.jsonl.lock"]


def test_os_exit_leaves_it_to_the_next_start(tmp_path: Path) -> None:
    """A process that ends without ceremony loses nothing that was acknowledged."""
    code = """
import os, cipherlog_core
logger = cipherlog_core.start("app")
for number in range(1000):
    assert logger.event("x", number=number)
os._exit(0)
"""
    run(code, tmp_path)
    recovered = run("import cipherlog_core as c; c.start('other'); print(c.stats().recovered)", tmp_path)

    lines = (tmp_path / "app.jsonl").read_text().splitlines()
    assert len(lines) == 1000
    assert 0 <= int(recovered) <= 1000


def test_an_event_after_stop_starts_it_again(logs: Logs) -> None:
    """Stop is no end: twice, and with events after it."""
    logger = cipherlog_core.start("app")
    logger.event("one")
    assert cipherlog_core.stop()
    assert cipherlog_core.stop()
    assert "cipherlog-writer" not in {thread.name for thread in threading.enumerate()}
    assert logger.event("two")

    assert [record["event"] for record in logs.read("app")] == ["one", "two"]


def test_stats_in_all_and_per_file(logs: Logs) -> None:
    """What is accepted is written or waits; sums are over the files."""
    before = cipherlog_core.stats()
    one, two = cipherlog_core.start("one"), cipherlog_core.start("two")
    for _ in range(5):
        one.event("x")
        two.event("x")
        two.event("x")
    assert cipherlog_core.flush()

    stats = cipherlog_core.stats()
    file = stats.files["two.jsonl"]
    assert (file.accepted, file.written, file.dropped, file.pending_bytes, file.durable) == (10, 10, 0, 0, True)
    assert stats.written - before.written == 15
    assert stats.durable


def test_stats_name_no_log_that_was_not_used(logs: Logs) -> None:
    """The costs and the routing of a program that has neither are not there with zeros; one that is open is."""
    cipherlog_core.channel("never-used", cipherlog_core.FileStats)
    cipherlog_core.start("just-started")

    files = cipherlog_core.stats().files
    assert "never-used.jsonl" not in files
    assert files["just-started.jsonl"].accepted == 0


def test_stats_while_another_thread_closes_the_log(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those of the log as it is then; nothing is raised."""
    cipherlog_core.start("closing").event("x")
    read = _ring.Ring.read

    def closed_meanwhile(ring: _ring.Ring, offset: int, count: int) -> bytes:
        monkeypatch.setattr(_ring.Ring, "read", read)
        thread = threading.Thread(target=cipherlog_core.stop)
        thread.start()
        thread.join()
        return ring.read(offset, count)

    monkeypatch.setattr(_ring.Ring, "read", closed_meanwhile)
    file = cipherlog_core.stats().files["closing.jsonl"]

    assert _ring.Ring.read is read
    assert (file.accepted, file.written, file.pending_bytes) == (1, 1, 0)


def test_the_folder_is_absolute_from_the_first_event_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    """A program that changes its working directory goes on in the same files."""
    monkeypatch.setenv("LOG_DIR", "relative")
    monkeypatch.chdir(tmp_path)
    logger = cipherlog_core.start("app")
    logger.event("one")
    monkeypatch.chdir("/")
    logger.event("two")
    cipherlog_core.start("other").event("three")
    assert cipherlog_core.stop()

    assert (tmp_path / "relative" / "app.jsonl").read_text().count("\n") == 2
    assert (tmp_path / "relative" / "other.jsonl").read_text().count("\n") == 1


def test_a_folder_that_cannot_be_made_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Events are taken into memory, and written as soon as the folder can be made."""
    (tmp_path / "in the way").write_text("")
    monkeypatch.setenv("LOG_DIR", str(tmp_path / "in the way" / "logs"))
    logger = cipherlog_core.start("waiting")
    assert [logger.event("x") for _ in range(3)] == [True] * 3

    assert not cipherlog_core.stats().durable
    assert not cipherlog_core.flush(0.1)
    assert [record.name for record in caplog.records] == ["cipherlog_core"]
    assert "in the way" in caplog.text
    (tmp_path / "in the way").unlink()
    assert cipherlog_core.flush()
    assert (tmp_path / "in the way" / "logs" / "waiting.jsonl").read_text().count("\n") == 3
    assert cipherlog_core.stop()


@pytest.mark.parametrize(("as_json", "name"), [("true", "lost.jsonl"), ("false", "lost.log")])
def test_what_never_could_be_written_is_counted_as_dropped(
    as_json: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A stop with a folder that does not come loses what was in memory, and says so: events, not lines of text."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOG_DIR", str(tmp_path / "file"))
    monkeypatch.setenv("LOG_JSON", as_json)
    logger = cipherlog_core.start("lost")
    for _ in range(3):
        logger.event("x", exc=ValueError("of two lines as text"))

    assert cipherlog_core.stats().files[name].written == 0
    assert not cipherlog_core.stop(0.1)
    file = cipherlog_core.stats().files[name]
    assert (file.accepted, file.written, file.dropped) == (3, 0, 3)
    assert f"3 events of {name} could not be written: they are lost" in capfd.readouterr().err


def test_a_read_of_another_process_sees_the_events_soon(logs: Logs) -> None:
    """Nobody has to flush: the writer thread does it."""
    cipherlog_core.start("app").event("x")
    reader = "import sys, time; p = sys.argv[1]\nfor _ in range(500):\n  time.sleep(0.01)\n  if open(p).read(): break"
    path = logs.folder / "app.jsonl"
    for _ in range(500):
        if path.exists():
            break
        threading.Event().wait(0.01)

    subprocess.run([sys.executable, "-c", reader, str(path)], check=True, timeout=30)
    assert path.read_text().count("\n") == 1


def test_rotation_by_size(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """``LOG_ROTATE_SIZE`` holds for each file, and no event is lost at the seam."""
    monkeypatch.setenv("LOG_ROTATE_SIZE", "64KB")
    monkeypatch.setenv("LOG_BACKUPS", "0")
    logger = cipherlog_core.start("app")
    for number in range(2000):
        logger.event("x", number=number, text="y" * 200)
        if not number % 100:
            cipherlog_core.flush()

    records = logs.read("app")
    assert [record["fields"]["number"] for record in records] == list(range(2000))
    sizes = [path.stat().st_size for path in logs.folder.glob("app-*.jsonl")]
    assert len(sizes) >= 8
    assert max(sizes) <= 64 << 10
    assert cipherlog_core.stats().files["app.jsonl"].rotations >= len(sizes)


def test_a_burst_beyond_the_size_makes_several_segments(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A size below that of a batch holds for each file too, but for a line that alone is longer."""
    monkeypatch.setenv("LOG_ROTATE_SIZE", "2000")
    monkeypatch.setenv("LOG_BACKUPS", "0")
    monkeypatch.setattr("cipherlog_core._writer.Writer.start", lambda _: True)  # so that all is one burst
    logger = cipherlog_core.start("app")
    for number in range(100):
        logger.event("x", number=number, text="y" * (5000 if number == 50 else 200))

    assert [record["fields"]["number"] for record in logs.read("app")] == list(range(100))
    files = [path.read_bytes() for path in logs.folder.glob("app*.jsonl")]
    assert len(files) > 20
    assert [content.count(b"\n") for content in files if len(content) > 2000] == [1]


def wait_for(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_idle_writer_sleeps(logs: Logs) -> None:
    """It looks about once a second, which costs next to nothing."""
    cipherlog_core.start("app")
    time.sleep(1.3)
    before = time.process_time()
    time.sleep(1)

    assert time.process_time() - before < 0.1


def test_a_writer_that_sleeps_is_woken(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes then is written at once and not at the next look."""
    monkeypatch.setattr("cipherlog_core._writer._POLL", (30.0, 30.0))
    logger = cipherlog_core.start("app")
    wait_for(lambda: PIPELINE.spool("app.jsonl")._is_dozing)
    logger.event("x")
    begin = time.monotonic()
    wait_for(lambda: "\n" in (logs.folder / "app.jsonl").read_text())

    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("what", ["ring", "spool folder", "log folder", "moved", "linked", "closed"])
def test_a_ring_that_was_taken_away_is_made_anew(
    what: str, logs: Logs, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What was in it is written, and events are safe again."""
    monkeypatch.setattr("cipherlog_core._writer._SCAN", 0.05)
    logger = cipherlog_core.start("app")
    logger.event("before")
    cipherlog_core.flush()
    (ring,) = (logs.folder / ".spool").glob("*.ring")
    if what == "linked":
        ring.with_name("backup").hardlink_to(ring)
    if what in ("ring", "linked"):
        ring.unlink()
    elif what == "moved":
        logs.folder.rename(logs.folder.with_name("elsewhere"))
    elif what == "closed":
        os.close(PIPELINE.spool("app.jsonl").ring.descriptor)
    else:
        delete(logs.folder / ".spool" if what == "spool folder" else logs.folder)
    assert logger.event("during")
    assert not cipherlog_core.stats().durable
    wait_for(lambda: cipherlog_core.stats().durable)
    logger.event("after")

    events = [record["event"] for record in logs.read("app")]
    assert events == (["during", "after"] if what in ("log folder", "moved") else ["before", "during", "after"])
    assert "the ring of app.jsonl was taken away; it has a new one" in capfd.readouterr().err
    assert cipherlog_core.stats().dropped == 0 or "app.jsonl" in cipherlog_core.stats().files


def test_rings_are_kept_elsewhere_where_the_log_folder_cannot_hold_them(
    logs: Logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """``LOG_SPOOL_DIR``: durable, without a notice, and recovered from there."""
    require = _ring.require_steady
    monkeypatch.setattr(
        _ring, "require_steady", lambda folder: require("/proc" if folder.startswith(str(logs.folder)) else folder)
    )
    monkeypatch.setenv("LOG_SPOOL_DIR", str(tmp_path / "rings"))
    logger = cipherlog_core.start("app")
    assert logger.event("x")

    assert cipherlog_core.stats().durable
    assert not caplog.records
    assert len(list((tmp_path / "rings").rglob("app.jsonl.*.ring"))) == 1
    assert [record["event"] for record in logs.read("app")] == ["x"]
    assert cipherlog_core.stop()
    assert not list((tmp_path / "rings").rglob("*.ring"))


@pytest.mark.parametrize("planted", ["link", pytest.param("folder", marks=NEEDS_ROOT)])
def test_no_ring_is_kept_where_another_user_could_read_it(
    logs: Logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, planted: str
) -> None:
    """In a ``LOG_SPOOL_DIR`` that all may write to, as /dev/shm, anybody can be first with the folder's name."""
    require = _ring.require_steady
    monkeypatch.setattr(
        _ring, "require_steady", lambda folder: require("/proc" if folder.startswith(str(logs.folder)) else folder)
    )
    monkeypatch.setenv("LOG_SPOOL_DIR", str(tmp_path))
    theirs = tmp_path / "theirs"
    elsewhere = Path(str(Folders.of(str(logs.folder), str(tmp_path)).elsewhere))
    theirs.mkdir()
    if planted == "link":
        elsewhere.symlink_to(theirs)
    else:
        theirs.rename(elsewhere)
        os.chown(elsewhere, 65534, 65534)
        theirs = elsewhere
    (theirs / "app.jsonl.1-abc.ring").write_text("planted")
    logger = cipherlog_core.start("app")
    assert logger.event("x")

    assert not cipherlog_core.stats().durable
    assert "a symlink, or another user's" in caplog.text
    assert [path.read_text() for path in theirs.iterdir()] == ["planted"]
    assert [record["event"] for record in logs.read("app")] == ["x"]


def test_a_network_file_system_is_told(
    logs: Logs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its locks are not to be trusted: one notice says what is not promised there."""
    monkeypatch.setattr("cipherlog_core._folders.filesystem_of", lambda _: "nfs4")
    for name in ("one", "two"):
        cipherlog_core.start(name).event("x")

    (record,) = [record for record in caplog.records if record.name == "cipherlog_core"]
    assert "is on nfs4, whose locks are not to be trusted" in record.getMessage()


class Endless(Spool):
    """A log whose ring is never empty: other threads go on logging."""

    head, tail = 1000, 0

    def move(self, deadline: float | None = None) -> int:
        self.tail += 1
        return 1


def test_the_writer_ends_though_others_go_on_logging() -> None:
    """With what was there when it was stopped."""
    spool = Endless("endless.jsonl", lambda _: False, lambda: None)
    writer = Writer(lambda: [spool], lambda _: None, lambda: None, lambda: None)
    assert writer.start()

    assert writer.stop(5)
    assert spool.tail >= spool.head


@pytest.mark.parametrize("end", [cipherlog_core.flush, cipherlog_core.stop, cipherlog_core.stats])
def test_a_log_that_another_thread_adds_meanwhile(
    end: Callable[[], object], logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that goes over all logs fails for it."""
    names = map("added-{}.jsonl".format, itertools.count())
    monkeypatch.setattr(
        "cipherlog_core._spool.Spool.dropped", property(lambda _: bool(PIPELINE.spool(next(names))) - 1)
    )
    cipherlog_core.start("app").event("x")
    before = len(PIPELINE._spools)
    end()

    assert len(PIPELINE._spools) > before


SCENARIO = """
import cipherlog_core, datetime, logging, sys
from openrouter_tap import log_cost
logger = cipherlog_core.start("app")
logger.event("plain", a=1, b=[1.5, None, True], c={"k": "v"})
logger.event("odd", nan=float("nan"), big=2**70, lone="\\ud800", raw=b"\\xff", keys={1: 2})
logger.event("known", when=datetime.date(2026, 1, 2), error=ValueError("x"))
with cipherlog_core.bind(session_id="s", user="ü"):
    logger.event("bound", x=1)
    logging.getLogger("lib").warning("record", extra={"n": 1})
log_cost(model="m", cost=0.5, tokens={"prompt": 1}, session_id="s")
print(cipherlog_core.stats().dropped)
"""


def facts(folder: Path) -> list[object]:
    records = [checked(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    return [[record["event"], record["logger"], record["session_id"], record["fields"]] for record in records]


def test_without_orjson_the_lines_are_the_same(tmp_path: Path) -> None:
    """Slower, by the standard library's encoder."""
    with_it = run(SCENARIO, tmp_path / "with")
    without = run("import sys; sys.modules['orjson'] = None" + SCENARIO, tmp_path / "without")

    assert (with_it, without) == ("0\n", "0\n")
    assert facts(tmp_path / "without") == facts(tmp_path / "with")
    assert len(facts(tmp_path / "with")) == 6


NO_POSIX = """
import os, sys
sys.modules["fcntl"] = None
for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "pread", "pwrite", "posix_fallocate", "fork", "register_at_fork"):
    delattr(os, name)
import logging
logging.basicConfig()
"""


def test_without_posix_it_works_and_says_what_is_not_promised(tmp_path: Path) -> None:
    """No fcntl, no pread, no fork: events are written, rotation too, and one notice tells of the rest."""
    environment = {"LOG_ROTATE_SIZE": "2000", "LOG_GZIP_AFTER": "0", "LOG_BACKUPS": "0"}
    code = f"import os; os.environ.update({environment}){NO_POSIX}{SCENARIO}"
    code += "for n in range(100):\n    logger.event('more', n=n)\n    assert n % 10 or cipherlog_core.flush()\n"
    output = run(code, tmp_path)

    assert output.startswith("0\n")
    assert output.count("WARNING:cipherlog_core:") == 1
    assert "a kill loses those. Let one process alone write each log" in output
    texts = [content(str(path)).decode() for path in tmp_path.glob("app*")]
    assert sum(text.count('"event":"more"') for text in texts) == 100
    assert len(texts) > 5
