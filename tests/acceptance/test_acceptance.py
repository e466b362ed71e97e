"""The acceptance list of the request that the example answers, a test a line, with real servers and a real client."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("mcp", reason="the example servers need the extra examples")

from benchmarks.sustained import HEAD, environment_for, serving, sustain
from benchmarks.tools import spent_per_call
from mcp import Client

from cipherlog_core import Settings
from cipherlog_core.reading import Choice, segments
from fleet import CIPHER, SETTINGS, Fleet, fleet, records, stdio
from openrouter_tap.simulator import running

LLM, ROUTING = "llm_inference_mcp.py", "routing_metadata_mcp.py"
LATE = str(Path(__file__).with_name("late.py"))
ROTATING = {"LOG_ROTATE_SIZE": "2000", "LOG_BACKUPS": "2", "LOG_GZIP_AFTER": "0"}


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with running() as origin:
        yield origin


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("cipher")) as up:
        yield up


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    reply = await client.call_tool(tool, arguments)
    assert not reply.is_error, reply.content
    return reply.structured_content


async def call_each(llm: Client, routing: Client, session: str, prompt: str = "a story") -> None:
    """Each tool once; those of one request share its id."""
    for tool in ("ask", "ask_streaming"):
        ids = {"session_id": session, "request_id": f"{session}-{tool}"}
        verdict = await call(routing, "validate_routing", task=prompt, selected_tool=tool, **ids)
        assert verdict["is_compliant"] is (tool == "ask_streaming")
        assert (await call(llm, tool, prompt=prompt, tier="best", **ids))["result"]
        await call(routing, "track_routing", selected_tool=tool, status="done", **ids)


def joined(folder: Path, session: str) -> dict[str, list[str]]:
    """By request, what the three files say of a session."""
    found: dict[str, list[str]] = {}
    for stem in ("llm-inference", "openrouter-costs", "routing-metadata"):
        for record in records(folder, stem):
            if record["session_id"] == session and record["event"] != "log":
                found.setdefault(record["request_id"], []).append(record["event"])
    return found


def joined_in_time(folder: Path, session: str, expected: dict[str, list[str]]) -> dict[str, list[str]]:
    """The same, as soon as it is what is expected: running servers write within milliseconds."""
    deadline = time.monotonic() + 10
    while (found := joined(folder, session)) != expected and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


# The keys that the request names.
BASELINE = ["ts", "level", "logger", "pid", "thread", "server", "session_id", "request_id", "tool", "event", "fields"]
OF_COST = ["tier_id", "model", "tokens", "cost", "latency_ms", "http_status", "provider"]
OF_ROUTING = ["selected_tool", "recommended_tool", "is_compliant", "detected_domain", "status"]
EACH = {f"s-{tool}": ["answered", "openrouter_cost", "routing", "routing"] for tool in ("ask", "ask_streaming")}


def test_all_server_logs_are_jsonl_of_a_stable_schema_over_http(up: Fleet) -> None:
    """Each line of each file is of its schema; the three files are joined by session and request; health sees all."""

    async def run() -> Any:
        async with Client(f"{up.urls['llm-inference']}/mcp") as llm, Client(f"{up.urls['routing-metadata']}/mcp") as it:
            await call_each(llm, it, "s")
        async with httpx.AsyncClient() as client:
            await client.get(f"{up.urls['health']}/health")
            return (await client.get(f"{up.urls['health']}/health")).json()

    health = asyncio.run(run())

    assert joined_in_time(up.folder, "s", EACH) == EACH
    assert health["healthy"] is True
    assert health["servers"]["llm-inference"]["files"]["openrouter-costs.jsonl"]["accepted"] >= 2
    stems = {path.stem for path in up.folder.glob("*.jsonl")}
    assert stems >= {"llm-inference", "openrouter-costs", "routing-metadata", "health"}
    for stem in stems:
        assert all(record["schema"] == 1 for record in records(up.folder, stem))


def test_all_server_logs_are_jsonl_of_a_stable_schema_over_stdio(origin: str, tmp_path: Path) -> None:
    """The same by servers that the client starts."""

    async def run() -> None:
        async with stdio(LLM, origin, tmp_path) as llm, stdio(ROUTING, origin, tmp_path) as routing:
            await call_each(llm, routing, "s")

    asyncio.run(run())

    assert joined(tmp_path, "s") == EACH
    costs = {record["tool"]: record["fields"] for record in records(tmp_path, "openrouter-costs")}
    for stem, keys in (("llm-inference", []), ("openrouter-costs", OF_COST), ("routing-metadata", OF_ROUTING)):
        for record in records(tmp_path, stem):
            assert record.keys() >= set(BASELINE)
            assert record["fields"].keys() >= set(keys)
            assert datetime.fromisoformat(record["ts"]).utcoffset() == timedelta(0)
    for fields in costs.values():
        assert fields["tokens"].keys() >= {"prompt", "completion", "total"}
        assert fields["cost"].keys() >= {"input", "output", "total"}
        assert (fields["provider"], fields["http_status"]) == ("openrouter", 200)
    assert {tool: (fields["tier_id"], fields["streamed"]) for tool, fields in costs.items()} == {
        "ask": ("best", False),
        "ask_streaming": ("best", True),
    }
    assert all(fields["cost"]["total"] > 0 for fields in costs.values())


def test_the_readme_alone_suffices(origin: str, up: Fleet, tmp_path: Path) -> None:
    """Its two clients, over HTTP and over stdio, run as they stand there; only the ports are others here."""
    ports = {"8801": up.urls["llm-inference"], "8802": up.urls["routing-metadata"], "8787": origin}
    clients = re.findall(r"```python\n(.*?)```", (CIPHER / "README.md").read_text(), re.DOTALL)
    (tmp_path / "examples").symlink_to(CIPHER.parent)
    for client in clients:
        code = re.sub(r"127\.0\.0\.1:(\d+)", lambda found: ports[found[1]].removeprefix("http://"), client)
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        )
        assert set(re.findall(r"is_error=(\w+)", done.stdout)) == {"False"}, done

    told = {"r-1": ["answered", "answered", "openrouter_cost", "openrouter_cost", "routing", "routing"]}
    assert joined_in_time(up.folder, "s-42", told) == told
    assert [record["request_id"] for record in records(tmp_path / "logs", "openrouter-costs")] == ["r-2"]


WRITING = "write,pwrite64,writev,pwritev,pwritev2,sendfile,open,openat,creat,rename,renameat,renameat2,unlink,unlinkat,\
fsync,fdatasync,ftruncate,fallocate,flock,msync,sendto"


def test_no_file_is_written_on_the_hot_path(up: Fleet, tmp_path: Path) -> None:
    """The thread of the loop makes no system call on a file during tool calls; the writer's are in the same trace."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    pid, trace = up.pids["llm-inference"], tmp_path / "trace"

    async def run() -> None:
        async with Client(f"{up.urls['llm-inference']}/mcp") as client:
            await call(client, "ask", prompt="warm-up")  # opens the files
            command = ["strace", "-f", "-y", "-o", str(trace), "-e", f"trace={WRITING}", "-p", str(pid)]
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
                told = strace.stderr.readline()
                if "attached" not in told:
                    strace.wait(10)
                    pytest.skip(f"strace cannot attach here: {told.strip()}")
                try:
                    for number in range(20):
                        await call(client, ("ask", "ask_streaming")[number % 2], prompt="hello")
                    deadline = time.monotonic() + 10
                    while str(up.folder) not in trace.read_text() and time.monotonic() < deadline:
                        await asyncio.sleep(0.02)
                finally:
                    strace.send_signal(signal.SIGINT)
                    strace.wait(10)

    asyncio.run(run())
    calls = [line.split(None, 1) for line in trace.read_text().splitlines()]
    of_loop = [text for thread, text in calls if int(thread) == pid]
    of_others = [text for thread, text in calls if int(thread) != pid]

    assert [text for text in of_loop if "sendto(" in text]
    assert [text for text in of_loop if re.match(r"\w+\(.*(</|\.jsonl|\.ring|AT_FDCWD)", text)] == []
    assert [text for text in of_others if text.startswith("write") and "openrouter-costs.jsonl>" in text]


def test_three_files_rotate_by_size_with_n_backups_and_gzip(origin: str, tmp_path: Path) -> None:
    """Of each of the three, the newest two closed segments are kept, compressed, and are whole."""

    async def run() -> None:
        async with stdio(LLM, origin, tmp_path, **ROTATING) as llm, stdio(ROUTING, origin, tmp_path, **ROTATING) as it:
            for number in range(8):
                await call_each(llm, it, f"s{number}")
                await asyncio.sleep(0.1)
            deadline = time.monotonic() + 10
            while not settled() and time.monotonic() < deadline:
                await asyncio.sleep(0.05)

    def settled() -> bool:
        return all(kinds(stem) == [".gz", ".gz"] for stem in ("llm-inference", "openrouter-costs", "routing-metadata"))

    def kinds(stem: str) -> list[str]:
        return sorted(path.suffix for path in tmp_path.glob(f"{stem}-2*"))

    asyncio.run(run())

    assert settled(), sorted(path.name for path in tmp_path.iterdir())
    for stem in ("llm-inference", "openrouter-costs", "routing-metadata"):
        assert len(records(tmp_path, stem)) >= 3


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_info_is_the_default_and_debug_adds_redacted_diagnostics(
    level: str, origin: str, up: Fleet, tmp_path: Path
) -> None:
    """The steps of HTTP are told at DEBUG only; no key is in any file, be it the server's or part of a text."""
    key, told = (f"sk-or-v1-{digits * 4}" for digits in ("0123456789abcdef", "fedcba9876543210"))

    async def run() -> None:
        environment = environment_for(origin, tmp_path, OPENROUTER_API_KEY=key, LOG_LEVEL=level)
        async with serving(LLM, environment) as (_, url), Client(f"{url}/mcp") as llm, httpx.AsyncClient() as http:
            await call(llm, "ask", prompt=f"my key is {told}")
            await call(llm, "ask_streaming", prompt=f"my key is {told}")
            await http.get(f"{url}/stats?api_key={told}")  # uvicorn's access log has the query
            assert (await llm.call_tool("ask", {"prompt": "hello", "tier": told})).is_error

    asyncio.run(run())
    steps = ["start", "headers", "end"] * 2 if level == "DEBUG" else []
    found = records(tmp_path, "llm-inference")

    assert {record["level"] for record in records(up.folder, "llm-inference")} == {"INFO"}
    assert [it["fields"]["phase"] for it in found if it["event"] == "http"] == steps
    assert [it for it in found if it["logger"] == "uvicorn.access" and "/stats" in it["fields"]["message"]]
    texts = "\n".join(path.read_text() for path in tmp_path.glob("*.jsonl"))
    assert key not in texts
    assert [text for text in texts.splitlines() if told in text] == []


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_debug_tells_no_header_and_nothing_of_prompt_and_answer(mode: Any, origin: str, tmp_path: Path) -> None:
    """Not by the libraries below either, whichever protocol the client speaks."""
    asked, environment = "a story of my own", environment_for(origin, tmp_path, LOG_LEVEL="DEBUG")

    async def run() -> list[str]:
        async with serving(LLM, environment) as (_, llm), serving(ROUTING, environment) as (_, routing):
            async with Client(f"{llm}/mcp", mode=mode) as client:
                answers = [(await call(client, it, prompt=asked))["result"] for it in ("ask", "ask_streaming")]
                assert (await client.call_tool("ask", {"prompt": [asked]})).is_error
            async with Client(f"{routing}/mcp", mode=mode) as client:
                await call(client, "validate_routing", task=asked, selected_tool="ask")
                assert (await client.call_tool("validate_routing", {"task": [asked], "selected_tool": "ask"})).is_error
            return answers

    answers = asyncio.run(run())
    found = [it for stem in ("llm-inference", "routing-metadata-server") for it in records(tmp_path, stem)]

    assert [it["level"] for it in found if it["event"] == "http"] == ["DEBUG"] * 6
    texts = "\n".join(path.read_text() for path in tmp_path.glob("*.jsonl"))
    assert [told for told in (asked, *answers, "cf-ray") if told in texts] == []


def test_the_overhead_of_logging_is_at_most_one_millisecond(tmp_path: Path) -> None:
    """p95 of the time inside tap and logger on the calling thread, per tool call at INFO, with the queue."""
    spent = sorted(asyncio.run(spent_per_call("INFO", "queue", 100, tmp_path)))

    assert spent[0] > 0
    assert spent[94] <= 1_000_000


@pytest.mark.parametrize("server", ["llm-inference", "routing-metadata"])
def test_the_toggles_are_documented_in_cipher_yml(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each server's block has the request's toggles, with the defaults that are in force and a word on each."""
    block = SETTINGS["servers"][server]["env"]
    asked = ["LOG_LEVEL", "LOG_JSON", "LOG_ROTATE_SIZE", "LOG_BACKUPS", "LOG_GZIP", "LOG_QUEUE_MAX", "LOG_SAMPLE_HTTP"]
    known = {choice.variable for choice in Choice.all_in({})}
    for name, value in block.items():
        monkeypatch.setenv(name, value)

    assert set(asked) <= block.keys() <= known
    assert Settings.from_env() == Settings()
    page = (CIPHER.parents[1] / "docs" / "reference" / "settings.md").read_text()
    text = (CIPHER / "cipher.yml").read_text().partition(f"  {server}:")[2]
    for name in block:
        assert f"| `{name}` |" in page
        assert re.search(rf"\n      {name}: \S+ # \w+", text)


def test_tail_sees_each_line_through_rotations(origin: str, tmp_path: Path) -> None:
    """``tail -F``, which follows the name, prints every cost line once while the file rotates under it."""
    followed, out = tmp_path / "openrouter-costs.jsonl", tmp_path / "tailed"

    async def run() -> None:
        async with stdio(LLM, origin, tmp_path, LOG_ROTATE_SIZE="6000", LOG_BACKUPS="0", LOG_GZIP_AFTER="60") as llm:
            with out.open("wb") as file:
                tail = subprocess.Popen(
                    ["tail", "-s", "0.02", "-n", "+1", "-F", str(followed)], stdout=file, stderr=subprocess.DEVNULL
                )
            try:
                for number in range(40):
                    await call(llm, "ask", prompt="hello", request_id=f"r-{number}")
                    await asyncio.sleep(0.03)
                deadline = time.monotonic() + 10
                while out.read_bytes().count(b"\n") < 40 and time.monotonic() < deadline:
                    await asyncio.sleep(0.05)
            finally:
                tail.terminate()
                tail.wait(10)

    asyncio.run(run())

    assert len(segments(str(tmp_path), followed.name)) > 3
    written = [record["id"] for record in records(tmp_path, "openrouter-costs")]
    assert [re.search(rb'"id":"(\w+)"', line)[1].decode() for line in out.read_bytes().splitlines()] == written
    assert len(written) == 40


def test_a_full_disk_fails_no_call_and_is_made_up_for(origin: str, tmp_path: Path) -> None:
    """While there is no room tools answer; afterwards each call has its record."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", disk], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.decode().strip()}")

    async def run() -> None:
        async with stdio(LLM, origin, disk / "logs") as llm:
            await call(llm, "ask", prompt="hello", request_id="before")
            filler = disk / "filler"
            with filler.open("wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    pass
            for number in range(30):
                await call(llm, "ask", prompt="hello", request_id=f"r-{number}")
            filler.unlink()

    try:
        asyncio.run(run())
        seen = Counter(record["request_id"] for record in records(disk / "logs", "openrouter-costs"))
    finally:
        subprocess.run(["umount", "-l", disk], check=True)

    assert seen == Counter(["before", *(f"r-{number}" for number in range(30))])


def lost_by_a_kill(script: str, origin: str, folder: Path, **settings: str) -> set[str]:
    """SIGKILL in the middle of the load and a new start: the answered calls that have not exactly one cost record."""
    answered: list[str] = []

    async def load(client: Client, worker: int) -> None:
        for number in range(10_000):
            id_ = f"{worker}-{number}"
            await call(client, ("ask", "ask_streaming")[number % 2], prompt="hello", request_id=id_)
            answered.append(id_)

    async def hammer(url: str) -> None:
        async with Client(f"{url}/mcp") as client, asyncio.TaskGroup() as group:
            for worker in range(4):
                group.create_task(load(client, worker))

    async def run() -> None:
        async with serving(script, environment_for(origin, folder, **settings)) as (process, url), asyncio.timeout(60):
            task = asyncio.create_task(hammer(url))
            while len(answered) < 40:
                await asyncio.sleep(0.005)
            os.kill(process.pid, signal.SIGKILL)
            await asyncio.wait([task], timeout=5)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        async with stdio(LLM, origin, folder) as again:
            await call(again, "ask", prompt="hello", request_id="after")

    asyncio.run(run())
    seen = Counter(record["request_id"] for record in records(folder, "openrouter-costs"))
    assert seen["after"] == 1
    return {id_ for id_ in answered if seen[id_] != 1}


@pytest.mark.parametrize("script", [LLM, LATE], ids=["as it is", "before anything is written"])
def test_a_killed_server_loses_no_cost_of_a_finished_call(script: str, origin: str, tmp_path: Path) -> None:
    """Every answered call has exactly one record, wherever its line was at the kill."""
    assert lost_by_a_kill(script, origin, tmp_path) == set()


def test_a_queue_in_memory_loses_them(origin: str, tmp_path: Path) -> None:
    """The negative control: the same kill where the lines wait in the server's own memory."""
    assert len(lost_by_a_kill(LATE, origin, tmp_path, IN_MEMORY="1")) >= 40


@pytest.mark.parametrize(
    ("rps", "seconds"),
    [
        (40, 2),
        pytest.param(10, 600, marks=pytest.mark.soak),
        pytest.param(50, 120, marks=pytest.mark.soak),
    ],
)
def test_a_steady_load_drops_nothing(rps: float, seconds: float, tmp_path: Path) -> None:
    """Sent and written ids are equal sets, with rotation and gzip under way; memory does not grow with the calls."""
    result = asyncio.run(sustain(rps, seconds, tmp_path))
    print(dict(zip(HEAD, result.row(), strict=True)))

    result.check()
    assert len(result.sent) == rps * seconds
    assert result.stats["rotations"] >= 2
    assert result.compressed >= result.segments / 2 > 0
    assert seconds < 60 or not result.memory or result.grown < 8 << 10  # KiB, for 6,000 calls of some KiB each
