"""A steady load of tool calls to examples/cipher over HTTP, with frequent rotation and gzip: is anything lost?"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from mcp import Client

from benchmarks.harness import percentile, publish, read_back, require, table
from openrouter_tap.simulator import running

__all__ = ["Sustained", "environment_for", "serving", "sustain"]

SERVERS = Path(__file__).parents[1] / "examples" / "cipher" / "servers"
_SMALL = {"LOG_ROTATE_SIZE": "64KiB", "LOG_BACKUPS": "0", "LOG_GZIP_AFTER": "0"}
_WARM_UP = 0.1  # of the samples: until then pools and caches fill


@dataclass
class Sustained:
    """What a load did to the server. Latencies in nanoseconds, memory in KiB."""

    rps: float
    seconds: float
    sent: list[str] = field(default_factory=list)
    latencies: list[int] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    stats: dict[str, Any] = field(default_factory=dict)
    written: Counter[str] = field(default_factory=Counter)
    segments: int = 0
    compressed: int = 0

    def check(self) -> None:
        """End the program if a call has not exactly one cost record, or anything was dropped."""
        lost, invented = set(self.sent) - set(self.written), set(self.written) - set(self.sent)
        require(not (lost or invented), f"{len(lost)} calls lack their record, {len(invented)} records their call")
        require(set(self.written.values()) == {1}, "a record is there twice")
        require(self.stats["dropped"] == 0, f"{self.stats['dropped']} records were dropped")

    @property
    def grown(self) -> int:
        """By how much memory rose after the warm-up, in KiB."""
        steady = self.memory[int(len(self.memory) * _WARM_UP) :]
        return max(steady) - steady[0]

    def row(self) -> list[str]:
        ordered = sorted(self.latencies)
        return [
            f"{self.rps:g} rps, {self.seconds:g} s",
            str(len(self.sent)),
            str(sum(self.written.values())),
            str(self.stats["dropped"]),
            str(self.stats["rotations"]),
            f"{self.compressed} of {self.segments}",
            f"{self.memory[0] / 1024:.1f} / {max(self.memory) / 1024:.1f} ({self.grown:+d} KiB)",
            *(f"{percentile(ordered, percent) / 1e6:.2f}" for percent in (50, 95, 99)),
        ]


HEAD = "load", "sent", "written", "dropped", "rotations", "gzipped", "MiB first / most (after warm-up)"


def environment_for(origin: str, folder: Path, **settings: str) -> dict[str, str]:
    """That of an example server: against the look-alike at *origin*, with logs in *folder*."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LOG_", "OPENROUTER_"))}
    return {
        **inherited,
        "OPENROUTER_BASE_URL": f"{origin}/api/v1",
        "OPENROUTER_TAP_HOSTS": origin.removeprefix("http://"),
        "OPENROUTER_API_KEY": "look-alike",
        "LOG_DIR": str(folder),
        **settings,
    }


@asynccontextmanager
async def serving(script: str, environment: dict[str, str]) -> AsyncIterator[tuple[subprocess.Popen[bytes], str]]:
    """An example server over HTTP, in a process of its own, and its origin."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(SERVERS / script), "--port", str(port)], env=environment)
    try:
        deadline = time.monotonic() + 30
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            require(process.poll() is None and time.monotonic() < deadline, f"{script} does not start")
            await asyncio.sleep(0.05)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


async def sustain(rps: float, seconds: float, folder: Path) -> Sustained:
    """Calls at a fixed rate, each at its time whether or not those before it have returned."""
    result = Sustained(rps, seconds)
    with running() as origin:
        async with serving("llm_inference_mcp.py", environment_for(origin, folder, **_SMALL)) as (process, url):
            async with Client(f"{url}/mcp") as client, asyncio.TaskGroup() as group:
                await _send(result, client, group, process.pid)
            async with httpx.AsyncClient() as http:
                result.stats = await _settled(http, url)
    records, _ = read_back(folder)
    result.written.update(record["request_id"] for record in records if record["event"] == "openrouter_cost")
    closed = list(folder.glob("openrouter-costs-*"))
    result.segments, result.compressed = len(closed), sum(path.suffix == ".gz" for path in closed)
    return result


async def _send(result: Sustained, client: Client, group: asyncio.TaskGroup, pid: int) -> None:
    begin = time.perf_counter()
    for number in range(int(result.rps * result.seconds)):
        await asyncio.sleep(max(0.0, begin + number / result.rps - time.perf_counter()))
        group.create_task(_call(result, client, number))
        if number % max(1, int(result.rps)) == 0:
            result.memory.append(_memory(pid))


async def _call(result: Sustained, client: Client, number: int) -> None:
    tool, id_ = ("ask", "ask_streaming")[number % 2], f"r-{number}"
    begin = time.perf_counter_ns()
    reply = await client.call_tool(tool, {"prompt": f"number {number}", "session_id": "s-1", "request_id": id_})
    result.latencies.append(time.perf_counter_ns() - begin)
    require(not reply.is_error, f"{tool} failed: {reply.content}")
    result.sent.append(id_)


async def _settled(http: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """The counts of the server when everything is written."""
    for _ in range(300):
        stats: dict[str, Any] = (await http.get(f"{url}/stats")).json()
        if stats["accepted"] == stats["written"]:
            return stats
        await asyncio.sleep(0.1)
    raise SystemExit("The figures do not count: the server does not finish writing.")


def _memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def main() -> None:
    """Load, check and publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sustained", description=__doc__)
    parser.add_argument("--rps", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--write", action="store_true", help="put the result into benchmarks/RESULTS.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(sustain(given.rps, given.seconds, Path(folder)))
    result.check()
    command = f"`python -m benchmarks.sustained --rps {given.rps:g} --seconds {given.seconds:g}`"
    machine = (
        f"{os.cpu_count()} CPUs, others' load on the machine. Latency: client to tool and back, every second streamed."
    )
    head = (*HEAD, "p50 ms", "p95", "p99")
    checked = "Checked: the ids sent and the ids in the cost records, read back from all segments, are equal sets."
    publish("sustained", [command, machine, checked, table(head, [result.row()])], write=given.write)


if __name__ == "__main__":
    main()
