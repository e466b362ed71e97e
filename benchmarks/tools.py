"""What tap and logger cost a tool call of examples/cipher: a real MCP client, real processes, a local look-alike.

By level, with the queue and with writes in the caller's thread. Two figures a call: the time inside tap and logger on
the thread of the server's loop (`bind` and `tag`, the tap at request, reply and end, the event of the tool), and the
whole call as the client sees it.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from mcp import Client, StdioServerParameters

from benchmarks.harness import Block, Options, Series, Spread, differences, must, percentile, publish, require, table
from benchmarks.sustained import environment_for
from openrouter_tap.simulator import running

__all__ = ["spent_per_call"]

_CALLS = 100  # in a block: 10 rounds make the 1,000 of a variant
_MUST = 50.0  # µs at p95
_BASE, _CONTROL = "INFO, queue", "INFO, queue again (control)"
_VARIANTS = {
    _BASE: ("INFO", "queue"),
    _CONTROL: ("INFO", "queue"),
    "DEBUG, queue": ("DEBUG", "queue"),
    "INFO, synchronous": ("INFO", "sync"),
    "DEBUG, synchronous": ("DEBUG", "sync"),
}
_PLOT = Path(__file__).with_name("tools.svg")


def _client(level: str, how: str, origin: str, folder: Path, **settings: str) -> Client:
    environment = environment_for(origin, folder, LOG_LEVEL=level, **settings)
    root = str(Path(__file__).parents[1])
    command = ["-m", "benchmarks.tools_server", how]
    return Client(StdioServerParameters(command=sys.executable, args=command, env=environment, cwd=root))


async def _calls(client: Client, count: int) -> tuple[list[int], list[int]]:
    """Of each of *count* calls the nanoseconds in tap and logger, and those of the whole."""
    whole = []
    await client.call_tool("spent")
    for number in range(count):
        begin = time.perf_counter_ns()
        reply = await client.call_tool("ask", {"prompt": f"call {number}", "session_id": "s-1"})
        whole.append(time.perf_counter_ns() - begin)
        if reply.is_error:
            raise SystemExit(f"ask failed: {reply.content}")
    spent: list[int] = (await client.call_tool("spent")).structured_content["result"]
    require(len(spent) == count, f"{count} calls were {len(spent)}")
    return spent, whole


async def spent_per_call(level: str, how: str, count: int, folder: Path) -> list[int]:
    """Nanoseconds in tap and logger on the calling thread, of *count* tool calls after ten that do not count."""
    with running() as origin:
        async with _client(level, how, origin, folder) as client:
            await _calls(client, 10)
            return (await _calls(client, count))[0]


async def _measure(options: Options) -> dict[str, tuple[Series, Series]]:
    blocks: dict[str, tuple[list[Block], list[Block]]] = {name: ([], []) for name in _VARIANTS}
    async with AsyncExitStack() as stack:
        origin = stack.enter_context(running())
        clients = {}
        for name, (level, how) in _VARIANTS.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            clients[name] = await stack.enter_async_context(_client(level, how, origin, folder))
        for number in range(options.rounds + 1):
            for name in options.draw.sample(list(clients), len(clients)):
                figures = await _calls(clients[name], _CALLS)
                if number:
                    for kept, calls in zip(blocks[name], figures, strict=True):
                        kept.append(Block(calls, sum(calls), sum(calls)))
    return {name: (Series(spent), Series(whole)) for name, (spent, whole) in blocks.items()}


def _row(name: str, figures: dict[str, tuple[Series, Series]]) -> list[str]:
    spent, whole = figures[name]
    added = Spread.of(differences(figures[_BASE][1], whole, lambda block: block.median))
    return [
        name,
        *(f"{spent.percentile(percent):.1f}" for percent in (50, 95, 99)),
        *(f"{whole.percentile(percent) / 1000:.2f}" for percent in (50, 95, 99)),
        "" if name == _BASE else f"{added:+.0f}",
    ]


def _plot(figures: dict[str, tuple[Series, Series]]) -> None:
    """The share of calls below a time in tap and logger."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plot, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for name, (spent, _) in figures.items():
        axes.plot([spent.percentile(percent) for percent in range(1, 100)], range(1, 100), label=name)
    axes.set(xscale="log", xlabel="µs in tap and logger, per tool call", ylabel="% of calls")
    axes.axvline(_MUST, color="grey", linestyle="dotted")
    axes.legend(fontsize="small")
    plot.savefig(_PLOT, metadata={"Date": None})


def main() -> None:
    """Measure, judge and publish."""
    options = Options("benchmarks.tools", __doc__, rounds=10)
    figures = asyncio.run(_measure(options))
    head = "", "inside µs: p50", "p95", "p99", "end to end ms: p50", "p95", "p99", "added µs, median"
    rows = table(head, [_row(name, figures) for name in figures])
    p95 = percentile(sorted(call for block in figures[_BASE][0].blocks for call in block.calls), 95) / 1000
    verdict = (
        f"At INFO with the queue, p95 inside tap and logger: {p95:.1f} µs (must: ≤ {_MUST:g}): {must(p95 <= _MUST)}."
    )
    paragraphs = [options.heading("mcp", "httpx"), verdict, rows]
    if options.write:
        _plot(figures)
        paragraphs.append("![Share of calls below a time](tools.svg)")
    publish("tools", paragraphs, write=options.write)


if __name__ == "__main__":
    main()
