"""The report: right sums from what is on disk, and honest about what is not."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from cipherlog_core import _ring
from cipherlog_core.reading import Recovered, RingState
from openrouter_tap.cli._commands import commands
from openrouter_tap.report import NoLogError, _read, read_report, show

NUMBERS = itertools.count()
NAMES = "openrouter-costs-20261101T000000Z-000001.jsonl", "openrouter-costs.jsonl"


def line(ts: str, model: str | None, total: float | str | None, **changes: Any) -> str:
    """A cost record; *total* as the text that stands in the file."""
    fields = {
        "model": model,
        "request_model": "asked/model",
        "outcome": "completed",
        "latency_ms": 100.0,
        "ttft_ms": None,
        "tokens": {"prompt": 10, "completion": 5, "cached": 2},
        "cost": {"total": "TOTAL"},
        **changes,
    }
    record = {"schema": 1, "id": f"id-{next(NUMBERS)}", "ts": ts, "event": "openrouter_cost", "fields": fields}
    return json.dumps(record).replace('"TOTAL"', "null" if total is None else str(total)) + "\n"


def command(
    *arguments: str, folder: Path, stdout: int | IO[str] = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "openrouter_tap", *arguments],
        env={**os.environ, "LOG_DIR": str(folder), "NO_COLOR": "1", **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


def test_sums_by_model(tmp_path: Path) -> None:
    """Over all segments; an unknown cost is counted and never added as 0."""
    (tmp_path / NAMES[0]).write_text(
        line("2026-11-01T00:00:00.000000Z", "a/model", "5e-05", latency_ms=300.0, ttft_ms=20.0)
        + line("2026-11-01T00:00:01.000000Z", "a/model", "3E-7", tokens={"prompt": 1, "completion": 1, "cached": None})
    )
    (tmp_path / NAMES[1]).write_text(
        line("2026-11-02T00:00:00.000000Z", "a/model", None, outcome="closed_early", tokens={})
        + line("2026-11-02T00:00:01.000000Z", "b/model", "0.25")
        + line("2026-11-02T00:00:02.000000Z", None, None, outcome="failed", tokens={})
    )
    report = read_report(str(tmp_path))

    b, a, asked = report.rows
    assert (a.model, a.calls, a.not_completed, a.prompt, a.completion, a.cached) == ("a/model", 3, 1, 11, 6, 2)
    assert (a.cost, a.unknown_cost) == (Decimal("0.0000503"), 1)
    assert (a.latency_median_ms, a.latency_p95_ms, a.ttft_median_ms) == (100.0, pytest.approx(280.0), 20.0)
    assert (b.model, b.cost, b.ttft_median_ms) == ("b/model", Decimal("0.25"), None)
    assert (asked.model, asked.cost, asked.prompt, asked.unknown_cost) == ("asked/model", None, None, 1)
    assert (report.total.calls, report.total.cost, report.total.unknown_cost) == (5, Decimal("0.2500503"), 2)
    assert (report.oldest, report.oldest_file) == ("2026-11-01T00:00:00.000000Z", str(tmp_path / NAMES[0]))
    assert (report.since, report.until, report.torn) == (
        "2026-11-01T00:00:00.000000Z",
        "2026-11-02T00:00:02.000000Z",
        0,
    )


def test_no_digit_of_the_money_is_lost(tmp_path: Path) -> None:
    """Amounts that a float column would round add up to the last digit."""
    amounts = ["0.12345678901234566", "0.0076509169000000005", "1e-07", "100000.00000001"] * 250
    (tmp_path / NAMES[1]).write_text("".join(line("2026-11-01T00:00:00Z", "m", amount) for amount in amounts))

    assert read_report(str(tmp_path)).total.cost == sum(map(Decimal, amounts))


def test_torn_lines_are_counted_apart(tmp_path: Path) -> None:
    """Half a line, no JSON, JSON that is no record, an empty file: the rest is still summed."""
    good, other = line("2026-11-01T00:00:00Z", "m", "0.5"), line("2026-11-01T00:00:00Z", "m", "0.5")
    (tmp_path / NAMES[0]).write_text("")
    (tmp_path / NAMES[1]).write_text(f"{good}{good[:50]}\nnot json\n[1]\n{{}}\n{other}{good[:70]}")
    report = read_report(str(tmp_path))

    assert (report.total.calls, report.total.cost, report.torn) == (2, Decimal("1.0"), 5)


@pytest.mark.parametrize("wrong", [{"ts": 1}, {"id": None}, {"id": None, "ts": 1, "event": "records_dropped"}])
def test_a_line_that_is_no_record_is_in_nothing(wrong: dict[str, Any], tmp_path: Path) -> None:
    """JSON with the event of a record but no id or no time: no sum counts it, and no time is taken from it."""
    good = line("2026-11-02T00:00:00Z", "m", "0.5")
    bad = {**json.loads(line("2026-11-01T00:00:00Z", "m", "0.5")), **wrong}
    bad["fields"]["dropped"] = 7
    (tmp_path / NAMES[0]).write_text(json.dumps(bad) + "\n")
    (tmp_path / NAMES[1]).write_text(good)
    report = read_report(str(tmp_path))

    assert (report.total.calls, report.total.cost, report.dropped, report.torn) == (1, Decimal("0.5"), 0, 1)
    assert report.oldest == report.since == report.until == "2026-11-02T00:00:00Z"
    assert report.oldest_file == str(tmp_path / NAMES[1])


def test_a_record_that_is_there_twice_is_summed_once(tmp_path: Path) -> None:
    """A machine that went down can leave a batch in the log and in the ring: the id tells."""
    good = line("2026-11-01T00:00:00Z", "m", "0.5")
    (tmp_path / NAMES[0]).write_text(good)
    (tmp_path / NAMES[1]).write_text(good + line("2026-11-01T00:00:00Z", "m", "0.25"))
    report = read_report(str(tmp_path))

    assert (report.total.calls, report.total.cost, report.torn) == (2, Decimal("0.75"), 0)


def test_compressed_segments_are_read(tmp_path: Path) -> None:
    """And a plain one beside its compressed copy is not read twice."""
    good = line("2026-11-01T00:00:00Z", "m", "0.5")
    (tmp_path / NAMES[0]).write_text(good)
    (tmp_path / f"{NAMES[0]}.gz").write_bytes(gzip.compress(good.encode()))
    (tmp_path / NAMES[0].replace("000001", "000002")).write_text(line("2026-11-01T00:00:00Z", "m", "0.25"))
    report = read_report(str(tmp_path))

    assert (report.total.calls, report.total.cost, report.files) == (2, Decimal("0.75"), 2)


@pytest.mark.parametrize("total", ["1e-21", "1e300", "1e18", '"abc"', "true", '{"a":1}', "900000000000000000"])
def test_a_cost_that_is_none_is_unknown(total: str, tmp_path: Path) -> None:
    """It is counted, and spoils no sum; so is one too small for the sums, which is not 0."""
    (tmp_path / NAMES[1]).write_text(
        line("2026-11-01T00:00:00Z", "m", "0.5") + line("2026-11-01T00:00:00Z", "m", total)
    )
    report = read_report(str(tmp_path))

    assert (report.total.calls, report.total.cost, report.total.unknown_cost) == (2, Decimal("0.5"), 1)


def test_files_that_cannot_be_read_are_named_and_the_rest_is_summed(tmp_path: Path) -> None:
    """A line beyond all measure, compressed files that are cut or empty, a folder and a FIFO where a file should be."""
    good = [line("2026-11-01T00:00:00Z", "m", "0.5") for _ in range(4)]
    packed = gzip.compress("".join(line("2026-11-01T00:00:00Z", "m", "0.25") for _ in range(4000)).encode())
    (tmp_path / NAMES[0].replace("000001", "000002")).write_text(good[0] + "x" * 40_000_000 + "\n" + good[1])
    (tmp_path / f"{NAMES[0].replace('000001', '000003')}.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / NAMES[0].replace("000001", "000004")).mkdir()
    os.mkfifo(tmp_path / NAMES[0].replace("000001", "000005"))
    (tmp_path / f"{NAMES[0].replace('000001', '000006')}.gz").touch()
    (tmp_path / NAMES[1]).write_text(good[2])
    report = read_report(str(tmp_path))

    assert sorted(trouble.partition(": ")[0].rpartition("-")[2] for trouble in report.unreadable) == [
        "000003.jsonl.gz",
        "000004.jsonl",
        "000005.jsonl",
        "000006.jsonl.gz",
    ]
    assert report.total.calls > 3
    assert report.torn in (1, 2)  # the long line, and the one at which the compressed file is cut


def rotate(folder: Path, number: int) -> None:
    (folder / NAMES[1]).rename(folder / NAMES[0].replace("000001", f"{number:06}"))
    (folder / NAMES[1]).write_text(line("2026-11-02T00:00:00Z", "m", "0.25"))


def compress(folder: Path, number: int) -> None:
    segment = folder / NAMES[0].replace("000001", f"{number:06}")
    segment.with_name(f"{segment.name}.gz").write_bytes(gzip.compress(segment.read_bytes()))
    segment.unlink()


@pytest.mark.parametrize(("change", "times", "cost"), [(rotate, 1, "1.25"), (compress, 1, "1.0"), (rotate, 1000, None)])
def test_files_that_change_while_they_are_read(
    change: Callable[[Path, int], None], times: int, cost: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are looked for again: a file that was renamed or compressed behind the list is in the sums, or is told."""
    (tmp_path / NAMES[0]).write_text(line("2026-11-01T00:00:00Z", "m", "0.5"))
    (tmp_path / NAMES[1]).write_text(line("2026-11-01T00:00:00Z", "m", "0.5"))
    numbers = iter(range(2, 2 + times) if change is rotate else [1])
    read_lines = _read._read_lines

    def read_late(*arguments: Any) -> None:
        if number := next(numbers, None):
            change(tmp_path, number)
        read_lines(*arguments)

    monkeypatch.setattr(_read, "_read_lines", read_late)
    report = read_report(str(tmp_path))

    if cost is None:
        assert [trouble.partition(": ")[0] for trouble in report.unreadable] == [str(tmp_path)]
        assert next(numbers) < times
    else:
        assert (report.total.cost, report.unreadable) == (Decimal(cost), [])


def test_what_waits_in_rings_is_summed_beside_a_file_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy is made of each file then, in a folder of its own; the oldest is named as it is on disk."""
    packed = gzip.compress((line("2026-11-01T00:00:00Z", "m", "0.25") * 4000).encode())
    first, second = (f"{NAMES[0].replace('000001', f'00000{number}')}.gz" for number in (1, 2))
    (tmp_path / first).write_bytes(gzip.compress(line("2026-10-01T00:00:00Z", "m", "0.25").encode()))
    (tmp_path / second).write_bytes(packed[: len(packed) // 2])
    waiting = line("2026-11-02T00:00:00Z", "waiting", "2.5").encode()
    ring = RingState("a ring", NAMES[1], 1, False, 4096, waiting)
    monkeypatch.setattr(_read, "ring_states", lambda _: [ring])
    monkeypatch.setattr(_read, "recover", lambda *_: Recovered(troubles=[("a ring", OSError("locked"))]))
    report = read_report(str(tmp_path))

    assert [(row.model, row.cost) for row in report.rows][:1] == [("waiting", Decimal("2.5"))]
    assert len(report.unreadable) == 1
    assert report.oldest_file == str(tmp_path / first)


AS_ANOTHER = """
import os, sys
from openrouter_tap.cli import _commands, main
os.setgid(65534); os.setuid(65534)
sys.argv[1:] = ["report"]
main()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the user who is locked out")
@pytest.mark.parametrize(("mode", "words"), [(0o700, ".spool'"), (0o755, ".ring: no ring, or not to be opened")])
def test_rings_that_another_user_may_not_read(mode: int, words: str) -> None:
    """It is said that they are in no sum, with exit code 4."""
    with tempfile.TemporaryDirectory() as folder:  # that of a test lets nobody else in
        os.chmod(folder, 0o755)
        place = Path(folder)
        leave_behind(place)
        (place / NAMES[1]).write_text(line("2026-11-01T00:00:00Z", "m", "0.5"))
        (place / NAMES[1]).chmod(0o644)
        (place / ".spool").chmod(mode)
        done = subprocess.run(
            [sys.executable, "-c", AS_ANOTHER],
            env={**os.environ, "LOG_DIR": folder},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert (done.returncode, done.stderr) == (4, "")
    told = " ".join(done.stdout.split())
    assert words in told
    assert told.count("in no sum") == 1
    assert "in the sums" not in told


def test_a_folder_of_rings_that_is_not_trusted_is_told(tmp_path: Path) -> None:
    """What is in it is not brought in, and may be missing."""
    (tmp_path / NAMES[1]).write_text(line("2026-11-01T00:00:00Z", "m", "0.5"))
    (tmp_path / ".spool").symlink_to(tmp_path)

    (trouble,) = read_report(str(tmp_path)).unreadable
    assert trouble.startswith(f"{tmp_path / '.spool'}: a symlink")


def test_what_is_lost_from_rings_is_told(tmp_path: Path) -> None:
    """A ring that is none, and lines that the end of the machine's run took from another; exit code 4."""
    leave_behind(tmp_path)
    (path,) = (tmp_path / ".spool").glob("*.ring")
    content = bytearray(path.read_bytes())
    bad = path.with_name(f"{NAMES[1]}.1-abc.ring")
    bad.write_bytes(b"no ring")
    content[_ring._BOOT] = b"another run     "
    content[_ring.HEADER + 3 : _ring.HEADER + 9] = bytes(6)
    path.write_bytes(content)
    result = CliRunner().invoke(commands, ["report", str(tmp_path)])

    told = " ".join(result.stdout.split())
    assert (result.exit_code, told.count("Cannot be read: ")) == (4, 2)
    assert f"{bad}.bad: " in told
    assert f"Cannot be read: {NAMES[1]}: 1 of the lines " in told
    assert "2 records of killed processes" in told


def test_the_log_that_the_report_makes_is_for_whom_the_program_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LOG_FILE_MODE holds where the lines of a killed process are the first of their log."""
    monkeypatch.setenv("LOG_FILE_MODE", "0640")
    leave_behind(tmp_path)
    read_report(str(tmp_path))

    assert (tmp_path / NAMES[1]).stat().st_mode & 0o777 == 0o640


def test_a_folder_is_taken_by_its_name(tmp_path: Path) -> None:
    """Brackets, stars and question marks in it are no pattern."""
    for name, model in (("h[ab]", "mine"), ("ha", "another's"), ("h*?", "odd")):
        (tmp_path / name).mkdir()
        (tmp_path / name / NAMES[1]).write_text(line("2026-11-01T00:00:00Z", model, "0.5"))

    assert [read_report(str(tmp_path / name)).rows[0].model for name in ("h[ab]", "h*?")] == ["mine", "odd"]


def test_a_folder_that_looks_like_a_column(tmp_path: Path) -> None:
    """Its name is in no record."""
    (tmp_path / "id=7").mkdir()
    (tmp_path / "id=7" / NAMES[1]).write_text(
        line("2026-11-01T00:00:00Z", "m", "0.5") + line("2026-11-01T00:00:00Z", "m", "0.25")
    )

    assert read_report(str(tmp_path / "id=7")).total.cost == Decimal("0.75")


def test_sums_that_no_machine_word_holds(tmp_path: Path) -> None:
    """They are as right as others."""
    most = 2**63 - 1
    tokens = {"prompt": most, "completion": most, "cached": most}
    (tmp_path / NAMES[1]).write_text(
        line("2026-11-01T00:00:00Z", "m", "0.5", tokens=tokens)
        + line("2026-11-01T00:00:00Z", "m", "0.5", tokens=tokens)
    )
    total = read_report(str(tmp_path)).total

    assert (total.prompt, total.completion, total.cached) == (2 * most, 2 * most, 2 * most)


INTERRUPTED = """
import os, signal, threading
from openrouter_tap.cli import main
from openrouter_tap.report import _read

def read_lines(database, files, read=_read._read_lines):
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    read(database, files * 200)

signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may have it ignored
_read._read_lines = read_lines
main()
"""


def test_an_interrupt_in_the_midst_of_the_query(tmp_path: Path) -> None:
    """Ctrl-C ends it as it ends everything else, without a traceback."""
    (tmp_path / NAMES[1]).write_text(line("2026-11-01T00:00:00Z", "m", "0.5") * 5000)
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        env={**os.environ, "LOG_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr.strip()) == (1, "", "Aborted!")


def test_names_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """Neither as markup nor by escape sequences: they come from replies."""
    (tmp_path / NAMES[1]).write_text(
        "".join(line("2026-11-01T00:00:00Z", model, "0.5") for model in ("[/red]x", "[red]y[/red]", "z\x1b[31m"))
    )
    done = command(folder=tmp_path)

    assert done.returncode == 0
    assert all(name in done.stdout for name in ("[/red]x", "[red]y[/red]", r"z\x1b[31m"))
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("width", [10, 20, 40, 60, 80, 120])
def test_a_narrow_terminal_cuts_no_number(width: int, tmp_path: Path) -> None:
    """Columns are left out, and named; names are shortened. Beyond that the table is wider than the terminal."""
    (tmp_path / NAMES[1]).write_text(line("2026-11-01T00:00:00Z", "a-maker/a-model-with-a-long-name", "1234.5"))
    console = Console(width=width, file=io.StringIO())
    show(read_report(str(tmp_path)), console)

    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= max(width, 36)
    assert console.width == width
    assert "a-maker/a" in text
    assert "1,234.5000" in text
    assert ("Left out for want of room" in " ".join(text.split())) == (width < 80)


@pytest.mark.parametrize(
    ("since", "calls"),
    [
        ("2026-11-02", 1),
        ("20261102", 1),
        ("2026-11-01T00:00Z", 2),
        ("2026-11-01 12:00", 1),
        ("2026-11-01T02:00+05:00", 2),
        ("1d", 0),
    ],
)
def test_since_takes_times(since: str, calls: int, tmp_path: Path) -> None:
    """ISO 8601 with or without a zone, or how long ago."""
    (tmp_path / NAMES[1]).write_text(
        line("2026-11-01T00:00:00.000000Z", "m", "0.5") + line("2026-11-02T10:00:00.000000Z", "m", "0.25")
    )
    words = CliRunner().invoke(commands, ["report", str(tmp_path), "--since", since]).stdout.split()

    assert words[words.index("models") + 1] == str(calls)


@pytest.mark.parametrize("since", ["yesterday", "2026-13-45", "1e9", "", "0001-01-01T00:00+14:00", "999999d"])
def test_what_is_no_time_is_wrong_usage(since: str, tmp_path: Path) -> None:
    """Exit code 2, and what it may be."""
    done = CliRunner().invoke(commands, ["report", str(tmp_path), "--since", since])

    assert done.exit_code == 2
    assert "is no time" in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [(), ("--help",), ("doctor",)])
def test_output_that_cannot_be_written_is_told_in_a_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Exit code 2, and no traceback."""
    (tmp_path / NAMES[1]).write_text(line("2026-11-01T00:00:00.000000Z", "m", "0.5"))
    with open("/dev/full", "w") as full:
        done = command(*arguments, folder=tmp_path, stdout=full)

    assert (done.returncode, done.stderr) == (2, "openrouter-tap: [Errno 28] No space left on device\n")


def test_output_in_another_encoding(tmp_path: Path) -> None:
    """What it lacks is told by escapes."""
    (tmp_path / NAMES[1]).write_text(line("2026-11-01T00:00:00.000000Z", "modèle", "0.5"))
    done = command(folder=tmp_path, PYTHONIOENCODING="ascii:strict")

    assert (done.returncode, done.stderr) == (0, "")
    assert r"mod\xe8le" in done.stdout


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_output_that_nobody_wants(closed: str, tmp_path: Path) -> None:
    """A stream that is closed is as good as /dev/null."""
    (tmp_path / NAMES[1]).write_text(line("2026-11-01T00:00:00.000000Z", "m", "0.5"))
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -m openrouter_tap report {closed}', sys.executable],
        env={**os.environ, "LOG_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert ("all models" in done.stdout) == (not closed.startswith(">"))


def test_a_closed_pipe_ends_it_in_silence(tmp_path: Path) -> None:
    """As with `openrouter-tap | head -1`."""
    read, write = os.pipe()
    os.close(read)
    (tmp_path / NAMES[1]).write_text(line("2026-11-01T00:00:00.000000Z", "m", "0.5"))
    with open(write, "w") as closed:
        done = command(folder=tmp_path, stdout=closed)

    assert (done.returncode, done.stderr) == (1, "")


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    """Wrong usage, with the right one."""
    (tmp_path / NAMES[1]).write_text("")
    done = command("report", str(tmp_path / NAMES[1]), folder=tmp_path)

    assert done.returncode == 2
    assert "is a file; the report is on its folder" in " ".join(done.stderr.split())


@pytest.mark.parametrize(("variable", "text"), [("OPENROUTER_TAP", "off"), ("OTEL_SDK_DISABLED", "true")])
def test_the_demo_with_taps_off(variable: str, text: str, tmp_path: Path) -> None:
    """It is a program of its own: its taps are on, and its calls are shipped nowhere."""
    done = command("demo", folder=tmp_path, LOG_OTLP_ENDPOINT="http://127.0.0.1:9", **{variable: text})

    assert done.returncode == 0
    assert " ".join(done.stdout.partition("all models")[2].split()).startswith("38 8 ")
    assert not list(tmp_path.rglob("ship*"))


def test_the_demo_where_nothing_can_be_written(tmp_path: Path) -> None:
    """It says what is missing, without a traceback."""
    (tmp_path / "logs").touch()
    done = command("demo", folder=tmp_path / "logs")

    assert done.returncode == 3
    assert "no openrouter-costs.jsonl in " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("since", "count"), [(None, 7), (datetime(2026, 11, 1, tzinfo=UTC), 4)])
def test_dropped_events_are_told(since: datetime | None, count: int, tmp_path: Path) -> None:
    """What the log says of its own losses, once, and since the time that is asked for."""
    dropped = [
        {"schema": 1, "id": f"x{number}", "ts": ts, "event": "records_dropped", "fields": {"dropped": number}}
        for number, ts in [(3, "2026-10-01T00:00:00.000000Z"), (4, "2026-11-01T00:00:00.000000Z")]
    ]
    losses = "".join(json.dumps(record) + "\n" for record in [*dropped, *dropped])
    (tmp_path / NAMES[1]).write_text(losses + line("2026-11-01T00:00:00.000000Z", "m", "0.5"))

    report = read_report(str(tmp_path), since=since)
    assert (report.dropped, report.total.calls) == (count, 1)


def test_since(tmp_path: Path) -> None:
    """Only later calls are summed; the oldest event on disk is still named."""
    (tmp_path / NAMES[1]).write_text(
        line("2026-11-01T00:00:00Z", "m", "0.5") + line("2026-11-02T10:00:00Z", "m", "0.25")
    )
    report = read_report(str(tmp_path), since=datetime(2026, 11, 2, tzinfo=UTC))

    assert (report.total.cost, report.oldest) == (Decimal("0.25"), "2026-11-01T00:00:00Z")


def test_what_a_killed_process_left_is_brought_in_first(tmp_path: Path) -> None:
    """Its records are in the sums, and it is said that they have just come."""
    leave_behind(tmp_path)
    report = read_report(str(tmp_path))

    assert (report.recovered, report.total.calls, report.total.cost) == (3, 3, Decimal("1.5"))
    assert read_report(str(tmp_path)).recovered == 0


def test_what_a_killed_process_left_is_read_where_it_is(tmp_path: Path) -> None:
    """In a folder that cannot be written, nothing is moved, and the sums are the same."""
    leave_behind(tmp_path / "logs")
    (tmp_path / "read-only").mkdir()
    if subprocess.run(["mount", "--bind", tmp_path / "logs", tmp_path / "read-only"], check=False).returncode:
        pytest.skip("cannot mount here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", tmp_path / "read-only"], check=True)
        report = read_report(str(tmp_path / "read-only"))
    finally:
        subprocess.run(["umount", tmp_path / "read-only"], check=True)

    assert (report.recovered, report.total.calls, report.total.cost) == (0, 3, Decimal("1.5"))
    assert "Read-only file system" in (report.in_place or "")


def leave_behind(folder: Path) -> None:
    """Three calls in the ring of a process that is dead."""
    code = """
import os, cipherlog_core, httpx
from openrouter_tap import TappedTransport
from cipherlog_core._writer import Writer
Writer.start = lambda self: True  # so that all stays in the ring
reply = httpx.Response(200, json={"model": "m", "usage": {"cost": 0.5}})
with httpx.Client(transport=TappedTransport(httpx.MockTransport(lambda _: reply))) as client:
    for _ in range(3):
        client.post("https://openrouter.ai/api/v1/chat/completions", json={})
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "LOG_DIR": str(folder)}, timeout=60, check=False)


def test_no_log(tmp_path: Path) -> None:
    """An error that names the file that was looked for."""
    with pytest.raises(NoLogError, match=r"no openrouter-costs\.jsonl in "):
        read_report(str(tmp_path / "nowhere"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [(), ("report",)])
def test_the_bare_command_is_the_report(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """A table on stdout, exit code 0; an unknown cost is shown as ? and never as 0."""
    (tmp_path / NAMES[1]).write_text(
        line("2026-11-01T00:00:00Z", "cheap/model", "0.0000123") + line("2026-11-01T00:00:00Z", "x/model", None)
    )
    done = command(*arguments, folder=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    rows = {words[0]: words[1:] for row in done.stdout.splitlines() if (words := row.split())}
    assert rows["cheap/model"] == ["1", "0", "10", "2", "5", "0.000012", "0", "100", "100", "-"]
    assert rows["x/model"] == ["1", "0", "10", "2", "5", "?", "1", "100", "100", "-"]
    assert rows["all"][:2] == ["models", "2"]
    assert "the cost of 1 call is unknown and in no sum" in done.stdout
    oldest = f"Oldest event on disk: 2026-11-01T00:00:00 UTC, in {tmp_path / NAMES[1]}"
    assert oldest in " ".join(done.stdout.split())


def test_exit_codes(tmp_path: Path) -> None:
    """2 wrong usage, 3 no logs, 4 some input unreadable with the result printed all the same."""
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / NAMES[1]).write_text(line("2026-11-01T00:00:00Z", "m", "0.5") + "half a li")
    runs = [
        command("--nonsense", folder=tmp_path),
        command(folder=tmp_path),
        command("report", str(tmp_path / "torn"), folder=tmp_path),
    ]

    assert [run.returncode for run in runs] == [2, 3, 4]
    assert [bool(run.stdout) for run in runs] == [False, False, True]
    assert all(name in runs[1].stderr for name in ("LOG_DIR", "OPENROUTER_TAP is off", "OPENROUTER_TAP_HOSTS"))
    assert "1 line is torn" in runs[2].stdout


def test_the_demo(tmp_path: Path) -> None:
    """At least 30 calls of all kinds, the report on them and the path of the log; again, the same report."""
    first, second = command("demo", folder=tmp_path / "logs"), command("demo", folder=tmp_path / "logs")

    assert [first.returncode, second.returncode] == [0, 0]
    assert first.stderr == "a reply of 127.0.0.1 is cut or not JSON: what it lacks is null in its event.\n"
    assert first.stdout.splitlines()[0].split()[:2] == ["1/38", "openai/gpt-4o-mini"]
    path = tmp_path / "logs" / "demo" / "openrouter-costs.jsonl"
    assert first.stdout.endswith(
        f"The log: {path}\nThe report on all demos: openrouter-tap report {path.parent}\n",
    )
    fields = [json.loads(text)["fields"] for text in path.read_text().splitlines()]
    assert len(fields) >= 60
    outcomes = {field["outcome"] for field in fields}
    assert outcomes == {"completed", "http_error", "stream_error", "closed_early", "failed"}
    assert {field["streamed"] for field in fields} == {True, False}
    assert any(field["cost"]["is_byok"] for field in fields)
    assert any(field["tokens"]["cached"] for field in fields)
    assert any(field["tokens"]["reasoning"] for field in fields)
    assert any(field["finish_reason"] == "tool_calls" for field in fields)
    tables = [
        [row.split()[:7] for row in run.stdout.split("OpenRouter calls")[1].splitlines()] for run in (first, second)
    ]
    assert tables[0][4:11] == tables[1][4:11]


def test_the_calls_of_the_demo_are_in_no_other_report(tmp_path: Path) -> None:
    """Nor in any log of the user's: the log folder has nothing new but a folder."""
    (tmp_path / NAMES[1]).write_text(line("2026-11-01T00:00:00Z", "m", "0.5"))
    before = command(folder=tmp_path).stdout
    there = set(tmp_path.iterdir())
    command("demo", folder=tmp_path)

    assert set(tmp_path.iterdir()) - there == {tmp_path / "demo"}
    assert command(folder=tmp_path).stdout == before
    assert command("report", str(tmp_path / "demo"), folder=tmp_path).stdout.count("openai/gpt-4o-mini") == 1
