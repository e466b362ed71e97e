from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cipherlog_core._console import Console

CODE = """
import cipherlog_core, logging, sys
from openrouter_tap import log_cost
logger = cipherlog_core.start("app")
logger.event("one", text="a\\x1b[31m")
logging.getLogger("lib").info("two")
log_cost(model="m", cost=0.5)
"""


def run(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **settings, "LOG_DIR": str(folder)}
    command = [sys.executable, "-W", "error", "-c", CODE]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_is_logged_is_shown_as_well(stream: str, tmp_path: Path) -> None:
    """The very lines of the logs, on the stream that was asked for and no other."""
    done = run(tmp_path, LOG_CONSOLE=stream)
    other = "stderr" if stream == "stdout" else "stdout"

    assert getattr(done, other) == ""
    shown = getattr(done, stream).splitlines()
    written = [line for path in tmp_path.glob("*.jsonl") for line in path.read_text().splitlines()]
    assert sorted(shown) == sorted(written)
    assert {json.loads(line)["event"] for line in shown} == {"one", "log", "openrouter_cost"}


def test_text_on_the_console(tmp_path: Path) -> None:
    """With ``LOG_JSON=false`` what people read; typed events, which stay JSON, are not mixed in."""
    done = run(tmp_path, LOG_CONSOLE="stderr", LOG_JSON="false")

    assert done.stderr == (tmp_path / "app.log").read_text()
    assert [line.split(" ", 1)[1] for line in done.stderr.splitlines()] == [
        r'INFO     app one text="a\u001b[31m"',
        "INFO     lib two",
    ]
    assert (tmp_path / "openrouter-costs.jsonl").exists()


def test_off_by_default(tmp_path: Path) -> None:
    """Nothing is shown unless it is asked for."""
    done = run(tmp_path)

    assert (done.stdout, done.stderr) == ("", "")


class Broken(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("stream", [None, Broken()])
def test_a_console_that_is_gone_hurts_nobody(stream: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """None, closed, a broken pipe."""
    monkeypatch.setattr(sys, "stdout", stream)
    console = Console("stdout")
    console.put(b"one\n")
    console.write()
    monkeypatch.undo()

    assert not console._batches


STALLED = """
import cipherlog_core, time
logger = cipherlog_core.start("app")
for number in range(3000):
    logger.event("numbered", seq=number, pad="x" * 200)
print(cipherlog_core.flush(1), cipherlog_core.stop(1))
"""


def test_a_console_that_nobody_reads_holds_nothing(tmp_path: Path) -> None:
    """The pipe is full and its reader sleeps: the file has all, and the program ends."""
    reader, writer = os.pipe()
    environment = {**os.environ, "LOG_DIR": str(tmp_path), "LOG_CONSOLE": "stderr"}
    command = [sys.executable, "-c", STALLED]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=writer, timeout=60, check=True)
    os.close(writer)
    os.close(reader)

    assert done.stdout == b"True True\n"
    assert len((tmp_path / "app.jsonl").read_text().splitlines()) == 3000


@pytest.mark.parametrize("size", [10, 4096, 5000, 70_000])
def test_a_console_gets_lines_of_any_length(size: int) -> None:
    """In pieces, of which none cuts a character."""
    lines = [f"{number} {'é€😀' * (size // 3)}\n" for number in range(4)]
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="utf-8") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        console = Console("stdout")
        console.put("".join(lines).encode())
        got = b""
        while console._batches:
            console.write()
            got += os.read(reader, 1 << 20)
    os.close(reader)

    assert got.decode() == "".join(lines)


def test_a_console_that_is_too_slow_leaves_out_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for it is bounded; the log has it all."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    console = Console("stdout")
    for _ in range(20):
        console.put(b"x" * 65535 + b"\n")
    console.write()
    console.put(b"after\n")
    console.write()

    lines = stream.getvalue().splitlines()
    assert [len(line) for line in lines[:16]] == [65535] * 16
    assert lines[16:] == ["cipherlog_core: 4 lines were too many for this console; they are in the log.", "after"]
