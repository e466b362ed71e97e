"""Whatever the SDK and the model, the money and the tokens of a line are those that were sent, once."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from conftest import Logs

import openrouter_tap
from adapters import Adapter
from costs import BYOK, FREE, NO_COST, REASONING, charged, tokens
from frameworks import ADAPTERS
from look_alike import LookAlike
from test_sdks import MODEL, call, server, tapped

__all__ = ["server", "tapped"]
pytestmark = pytest.mark.filterwarnings("default")

HERE = [adapter for adapter in ADAPTERS if adapter.is_installed()]
if not HERE:
    pytest.skip("`nox` runs these, each in an environment with its SDK", allow_module_level=True)


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("model", [MODEL, BYOK, FREE, REASONING, NO_COST])
@pytest.mark.parametrize("kind", HERE)
def test_money_and_tokens(kind: type[Adapter], model: str, streamed: bool, tapped: LookAlike, logs: Logs) -> None:
    """A charge, a charge on one's own key, a known 0, reasoning, and a cost that is not told: null and not 0."""
    openrouter_tap.instrument()
    asyncio.run(call(kind(tapped.origin, "instrument"), model, is_async=True, streamed=streamed))
    (record,) = logs.read()
    cost, counts = record["fields"]["cost"], record["fields"]["tokens"]

    assert (cost["total"], cost["source"]) == (
        charged(tapped.sent[0]),
        "unknown" if model == NO_COST else "provider",
    )
    assert {name: counts[name] for name in ("prompt", "completion")} == tokens(tapped.sent[0])
    assert counts["total"] == counts["prompt"] + counts["completion"]
    assert (counts["reasoning"] or 0) == (6 if model == REASONING else 0)


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("kind", [kind for kind in HERE if "client" in kind.doors])
def test_two_doors(kind: type[Adapter], streamed: bool, tapped: LookAlike, logs: Logs) -> None:
    """The client tapped and the libraries, too: the call is paid once, and has one line."""
    openrouter_tap.instrument()
    asyncio.run(call(kind(tapped.origin, "client"), MODEL, is_async=True, streamed=streamed))
    (record,) = logs.read()

    assert record["fields"]["cost"]["total"] == charged(tapped.sent[0]) is not None


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("kind", HERE)
def test_cancelled(kind: type[Adapter], streamed: bool, tapped: LookAlike, logs: Logs) -> None:
    """CancelledError is a BaseException: the call has its line, with the id, if one came, that its cost goes by."""
    openrouter_tap.instrument()

    async def leave() -> None:
        where = tapped.origin if streamed else f"{tapped.origin}/slow"
        adapter = kind(where, "instrument")
        task: Any = asyncio.create_task(_begin(adapter, begun) if streamed else adapter.aask(MODEL))
        if streamed:
            await asyncio.wait_for(begun.wait(), 20)
        else:
            while not tapped.sent:
                await asyncio.sleep(0.005)
        while not task.done():  # langchain-openai, tapped or not, now and then swallows the first one
            task.cancel()
            await asyncio.wait({task}, timeout=0.2)

    begun = asyncio.Event()
    asyncio.run(leave())
    gc.collect()
    (record,) = logs.read()

    assert record["fields"]["outcome"] == (kind.when_cancelled if streamed else "cancelled")
    assert record["fields"]["generation_id"] == (tapped.sent[0].generation_id if streamed else None)
    assert record["fields"]["cost"]["total"] is None


async def _begin(adapter: Adapter, begun: asyncio.Event) -> None:
    async for _ in adapter.achunks("simulator/stalled"):
        begun.set()
