"""The pairs of docs/how-to/migrate.md: what was logged before is logged after, and old readers find it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest

pytest.importorskip("mcp", reason="the example servers need the extra examples")

from fleet import records

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "migrate.md").read_text()
SECTIONS = {text.partition("\n")[0]: text for text in PAGE.split("\n## ")[1:]}
BASIC, COST, FILES, ROTATING, READERS = list(SECTIONS)[:5]
CALLS = """
import logging, sys
log = logging.getLogger("shop")
log.debug("nobody asked")
for number in range(100):
    log.warning("order %s of %s", number, "shop")
    if number % 10 == 0 and "cipherlog_core" in sys.modules:
        sys.modules["cipherlog_core"].flush()
"""
WAIT = """
import pathlib, time
deadline = time.monotonic() + 10
while not (%s) and time.monotonic() < deadline:
    time.sleep(0.01)
"""
ORDERS = [f"order {number} of shop" for number in range(100)]
LATER = "log_cost(model='maker/model', tokens={'prompt': 12, 'completion': 2, 'total': 14}, cost=0.00005)\n"
needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")


def code(section: str) -> list[str]:
    """The programs of a section, in their order: before, and after."""
    return re.findall(r"```python\n(.*?)```", SECTIONS[section], re.DOTALL)


def command(name: str) -> str:
    """The command among those for old readers that begins with *name*."""
    return next(it for it in re.findall(r"\n```\n(.*?)```", SECTIONS[READERS], re.DOTALL) if it.startswith(name))


def run(program: str, folder: Path, **environment: str) -> list[str]:
    """The lines that a program leaves on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stderr.splitlines()


def shell(line: str, folder: Path) -> str:
    return subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, timeout=60, check=True).stdout


def messages(folder: Path, stem: str) -> list[tuple[str, str]]:
    """Level and message of each record of `logging`."""
    found = records(folder / "logs", stem)
    return [(it["level"], it["fields"]["message"]) for it in found if it["event"] == "log"]


def test_basic_config(tmp_path: Path) -> None:
    """The same records at the same levels; nothing goes to stderr any more."""
    before, after = code(BASIC)
    told = [line.split(" ", 3)[2:] for line in run(before + CALLS, tmp_path)]

    assert run(after + CALLS + before + "log.error('behind it')", tmp_path) == []
    assert told == [["WARNING", order] for order in ORDERS]
    assert messages(tmp_path, "llm-inference") == [*map(tuple, told), ("ERROR", "behind it")]


STUB = """
import asyncio, httpx
reply = {"id": "gen-1", "model": "maker/model", "usage": {"prompt_tokens": 12, "completion_tokens": 2,
         "total_tokens": 14, "cost": 0.00005}}
stub = httpx.MockTransport(lambda request: httpx.Response(200, json=reply))
"""
POST = 'asyncio.run(client.post("https://openrouter.ai/api/v1/chat/completions", json={"model": "maker/model"}))'


@needs_jq
@pytest.mark.parametrize("by", ["the tap", "log_cost"])
def test_log_cost(by: str, tmp_path: Path) -> None:
    """Who parses the old file gets its lines from the new one, key by key, while they come."""
    before, tapped, called = code(COST)
    after = called
    if by == "the tap":
        after = STUB + tapped.replace("TappedTransport()", "TappedTransport(stub)").replace("pass  # the calls", POST)
    run(before + "log_cost('maker/model', 14, 0.00005)", tmp_path)
    [old] = map(json.loads, (tmp_path / "logs" / "openrouter-costs.jsonl").read_text().splitlines())
    shutil.rmtree(tmp_path / "logs")

    run(after, tmp_path)
    with subprocess.Popen(
        command("tail"), shell=True, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as reader:
        try:
            run("from openrouter_tap import log_cost\n" + LATER, tmp_path)
            lines = [json.loads(line) for line in islice(reader.stdout, 2)]
        finally:
            os.killpg(reader.pid, signal.SIGTERM)

    assert list(old) == list(lines[0])
    assert [{**line, "ts": None} for line in lines] == [{**old, "ts": None}] * 2
    assert all(isinstance(line["ts"], int) and old["ts"] <= line["ts"] <= time.time() for line in lines)


def test_file_handler_and_stream_handler(tmp_path: Path) -> None:
    """The sentence is in the file and on stderr, before and after; the event has its facts."""
    before, after = code(FILES)
    shown = run(before, tmp_path)
    written = (tmp_path / "logs" / "routing-metadata.log").read_text().splitlines()
    shown_after = run(after, tmp_path, LOG_CONSOLE="stderr")

    assert shown == written == ["validated search: True"]
    assert [line for line in shown_after if shown[0] in line] != []
    assert messages(tmp_path, "routing-server") == [("INFO", written[0])]
    [event] = records(tmp_path / "logs", "routing-metadata")
    assert (event["fields"]["selected_tool"], event["fields"]["is_compliant"]) == ("search", True)


def test_rotating_file_handler(tmp_path: Path) -> None:
    """Both keep the newest lines, without a gap, in five closed files and the open one."""
    before, after = (
        text.replace("10_485_760", size) for text, size in zip(code(ROTATING), ("200", "2000"), strict=True)
    )
    run(before + CALLS, tmp_path)
    run(after + CALLS + WAIT % "len(list(pathlib.Path('logs').glob('health-*'))) == 5", tmp_path)

    old = sorted((tmp_path / "logs").glob("health.log*"), reverse=True)
    kept = [line for path in old for line in path.read_text().splitlines()]
    kept_after = [message for _, message in messages(tmp_path, "health")]
    assert len(old) == len(list((tmp_path / "logs").glob("health*.jsonl*"))) == 6
    assert 0 < len(kept) < 100 > len(kept_after) > 0
    assert (kept, kept_after) == (ORDERS[-len(kept) :], ORDERS[-len(kept_after) :])


def test_an_old_handler_that_stays_goes_on(tmp_path: Path) -> None:
    """Old file and new have the same records, for as long as both are wanted."""
    before, after = code(ROTATING)
    run(before + after + CALLS, tmp_path)

    assert (tmp_path / "logs" / "health.log").read_text().splitlines() == ORDERS
    assert [message for _, message in messages(tmp_path, "health")] == ORDERS


@needs_jq
def test_text_from_json(tmp_path: Path) -> None:
    """A line of text for each record, of `logging` or not; `LOG_JSON=false` writes such lines itself."""
    program = code(BASIC)[1] + "cipherlog_core.start('llm-inference').event('started')" + CALLS
    run(program, tmp_path)
    run(program, tmp_path, LOG_JSON="false")
    lines = shell(command("jq"), tmp_path).splitlines()
    written = (tmp_path / "logs" / "llm-inference.log").read_text().splitlines()

    assert [line.split(" ", 2)[1:] for line in lines] == [["INFO", "started"], *(["WARNING", it] for it in ORDERS)]
    assert [line.split(None, 3)[1::2] for line in written] == [line.split(" ", 2)[1:] for line in lines]


@needs_jq
def test_the_whole_history_compressed_or_not(tmp_path: Path) -> None:
    """Each cost once; what is unknown is not taken for 0."""
    program = "import cipherlog_core\nfrom openrouter_tap import log_cost\nlog_cost(model='m')\n" + 20 * (
        "log_cost(model='m', cost=0.5)\ncipherlog_core.flush()\n"
    )
    program += WAIT % "list(pathlib.Path('logs').glob('*.gz'))"
    run(program, tmp_path, LOG_ROTATE_SIZE="4000", LOG_BACKUPS="0", LOG_GZIP_AFTER="0")

    assert list((tmp_path / "logs").glob("*.gz"))
    assert float(shell(command("gzip"), tmp_path)) == 10


def test_logrotate(tmp_path: Path) -> None:
    """What is logged behind a rename is in a new file, without a signal; the renamed file stays whole."""
    program = code(BASIC)[1] + (
        "import logging, os\n"
        "logging.warning('one'); cipherlog_core.flush()\n"
        "os.rename('logs/llm-inference.jsonl', 'logs/llm-inference.jsonl.1')\n"
        "logging.warning('two'); cipherlog_core.flush()\n"
    )
    run(program, tmp_path, LOG_ROTATE_SIZE="0")
    [rotated] = map(json.loads, (tmp_path / "logs" / "llm-inference.jsonl.1").read_text().splitlines())

    assert rotated["fields"]["message"] == "one"
    assert messages(tmp_path, "llm-inference") == [("WARNING", "two")]


def test_the_checklist_finds_each_old_way(tmp_path: Path) -> None:
    """Its grep names the lines that open a file to append, however they are spelled, and the handlers; no others."""
    grep = re.search(r"`(grep .*)`$", PAGE, re.MULTILINE)[1]
    old = [
        *("open(path, 'a')", 'open(path, "a", encoding="utf-8")', "open(path, mode='a+')", 'path.open("ab")'),
        *("logging.FileHandler(path)", "RotatingFileHandler(path)", "QueueListener(queue)"),
    ]
    others = ["open(path)", 'open("a.txt")', 'open(path, "w")', "path.open('rb')"]
    (tmp_path / "server.py").write_text("\n".join(old + others))

    assert [line.split(":", 2)[2] for line in shell(grep, tmp_path).splitlines()] == old
