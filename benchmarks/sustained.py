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

__all__ = ["HEAD", "Sustained", "environment_for", "serving", "sustain"]

SERVERS = Path(__file__).parents[1] / "examples" / "cipher" / "servers"
_SMALL = {"LOG_ROTATE_SIZE": "16KiB", "LOG_BACKUPS": "0", "LOG_GZIP_AFTER": "0"}
_WINDOW = 100  # calls that a point of the plot stands for
_PLOT = Path(__file__).with_name("sustained.svg")
_WARM_UP = 0.1  # of the samples: until then pools and caches fill


@dataclass
class Sustained:
    """What a load did to the server. Latencies in nanoseconds, memory in KiB, on Linux only."""

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
            f"{self.memory[0] / 1024:.1f} / {max(self.memory) / 1024:.1f} ({self.grown:+d} KiB)" if self.memory else "",
            *(f"{percentile(ordered, percent) / 1e6:.2f}" for percent in (50, 95, 99)),
        ]


HEAD = (
    *("load", "sent", "written", "dropped", "rotations of both logs", "cost segments gzipped"),
    *("MiB first / most (after warm-up)", "p50 ms", "p95", "p99"),
)


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
        due = begin + number / result.rps
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        group.create_task(_call(result, client, number, due))
        if sys.platform == "linux" and number % max(1, int(result.rps)) == 0:
            result.memory.append(_memory(pid))


async def _call(result: Sustained, client: Client, number: int, due: float) -> None:
    tool, id_ = ("ask", "ask_streaming")[number % 2], f"r-{number}"
    reply = await client.call_tool(tool, {"prompt": f"number {number}", "session_id": "s-1", "request_id": id_})
    result.latencies.append(int(1e9 * (time.perf_counter() - due)))
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


def _plot(results: list[Sustained]) -> None:
    """What a call took, and the server's memory, over the time of each load."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plot, (above, below) = plt.subplots(2, sharex=True, figsize=(6, 4.5), layout="constrained")
    for result in results:
        windows = [sorted(result.latencies[at : at + _WINDOW]) for at in range(0, len(result.latencies), _WINDOW)]
        minutes = [number * _WINDOW / result.rps / 60 for number in range(len(windows))]
        for percent, style in ((50, "-"), (99, ":")):
            label = f"{result.rps:g} rps, p{percent}"
            above.plot(minutes, [percentile(window, percent) / 1e6 for window in windows], style, label=label)
        seconds = range(len(result.memory))
        below.plot(
            [second / 60 for second in seconds], [kib / 1024 for kib in result.memory], label=f"{result.rps:g} rps"
        )
    above.set(yscale="log", ylabel=f"ms, of {_WINDOW} calls each")
    below.set(xlabel="minutes", ylabel="MiB of the server")
    above.legend(fontsize="small")
    below.legend(fontsize="small")
    plot.savefig(_PLOT, metadata={"Date": None})


def main() -> None:
    """Load, check and publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sustained", description=__doc__)
    parser.add_argument("--rps", type=float, nargs="+", default=[10, 50])
    parser.add_argument("--seconds", type=float, nargs="+", default=[600, 120], help="one for each rate")
    parser.add_argument("--write", action="store_true", help="put the result into benchmarks/RESULTS.md")
    given = parser.parse_args()
    if len(given.rps) != len(given.seconds):
        parser.error("--rps and --seconds must have as many values")
    results = []
    for rps, seconds in zip(given.rps, given.seconds, strict=True):
        with tempfile.TemporaryDirectory() as folder:
            result = asyncio.run(sustain(rps, seconds, Path(folder)))
        result.check()
        results.append(result)
    command = "`python -m benchmarks.sustained`"
    machine = (
        f"{os.cpu_count()} CPUs, others' load on the machine. Latency: from when a call was due to its answer; "
        "every second call is streamed."
    )
    checked = "Checked: the ids sent and the ids in the cost records, read back from all segments, are equal sets."
    paragraphs = [command, machine, checked, table(HEAD, [result.row() for result in results])]
    if given.write:
        _plot(results)
        paragraphs.append("![What a call took, and the server's memory, over time](sustained.svg)")
    publish("sustained", paragraphs, write=given.write)


if __name__ == "__main__":
    main()
