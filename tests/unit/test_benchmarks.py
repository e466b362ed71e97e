"""What the benchmarks' figures rest on."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from benchmarks import harness
from benchmarks.clients import ClientKind
from benchmarks.data import HEADERS, Exchange
from benchmarks.harness import Block, Series, Spread, differences, interleave, must_share
from benchmarks.server import serving


@pytest.mark.parametrize("contents", [0, 100], ids=["json", "stream"])
def test_the_server_answers_what_the_stub_answers(library: ModuleType, contents: int) -> None:
    """Over HTTP a call gets the status, headers and chunks that it gets in process, one after the other."""
    with serving() as url, asyncio.Runner() as runner:
        for run in (None, runner.run):
            got = []
            exchange = Exchange.sse(contents) if contents else Exchange.json()
            for kind in (ClientKind(library, run), ClientKind(library, run, url)):
                transport = kind.transport()
                transport.exchange = exchange
                client = kind.client(transport)
                got.append(_run_async(run, client, kind.url, exchange) if run else _fetch(client, kind.url, exchange))
                kind.close(client)
            assert got[0] == got[1]
            assert got[0][2] == exchange.chunks


def _fetch(client: Any, url: str, exchange: Exchange) -> tuple[int, list[tuple[bytes, bytes]], list[bytes]]:
    with client.stream("POST", url, content=exchange.request, headers=HEADERS) as response:
        return response.status_code, response.headers.raw, list(response.iter_raw())


def _run_async(run: Any, client: Any, url: str, exchange: Exchange) -> Any:
    async def fetch() -> tuple[int, list[tuple[bytes, bytes]], list[bytes]]:
        async with client.stream("POST", url, content=exchange.request, headers=HEADERS) as response:
            return response.status_code, response.headers.raw, [chunk async for chunk in response.aiter_raw()]

    return run(fetch())


def test_an_exchange_is_known_by_its_request() -> None:
    """The server makes the reply that belongs to a request, and no two have an id in common."""
    exchanges = [Exchange.json(), Exchange.sse(7), Exchange.sse(300), Exchange.json()]
    assert [Exchange.of(exchange.request) for exchange in exchanges] == exchanges
    assert len({exchange.generation_id for exchange in exchanges}) == len(exchanges)
    assert [len(exchange.chunks) for exchange in exchanges] == [1, 10, 303, 1]


def test_what_is_added_is_the_difference_within_a_round() -> None:
    """A machine that gets slower from round to round adds nothing to a variant."""

    def block(micros: int) -> Block:
        return Block([1000 * micros] * 20, 1, 20_000 * micros)

    base, more = Series(map(block, range(1, 9))), Series(map(block, range(4, 12)))
    added = Spread.of(differences(base, more, lambda one: one.median))
    assert (added.median, added.low, added.high) == (3, 3, 3)
    assert Spread.of(differences(base, more, lambda one: one.p95)).median == 3
    assert Spread.of(differences(base, more, lambda one: one.whole)).median == 3


def test_noise_passes_nothing() -> None:
    """A share is judged only where the control is quiet beside the rival; one that seems to add nothing is noise."""
    small, large = Spread(0.1, 0.1, 0.1), Spread(0.3, 0.2, 0.4)
    quiet, loud = Spread(0, -9, 9), Spread(0, -11, 3)
    rival, faster = Spread(100, 90, 110), Spread(-50, -60, 40)
    assert must_share(small, 1 / 6, quiet, rival) == "PASS"
    assert must_share(large, 1 / 6, quiet, rival) == "**FAIL**"
    assert must_share(small, 1 / 6, loud, rival) == must_share(large, 1 / 6, loud, rival) == "noise"
    assert must_share(small, 1 / 6, quiet, faster) == "noise"


def test_each_round_runs_each_variant_once_and_the_first_does_not_count() -> None:
    """The order is drawn anew from the seed."""

    def order(seed: int) -> list[str]:
        ran: list[str] = []

        def variant(name: str) -> Any:
            def run() -> Block:
                ran.append(name)
                return Block([len(ran)], 1, 1)

            return run

        series = interleave({name: variant(name) for name in "abc"}, 6, random.Random(seed))
        assert all(len(one.blocks) == 6 for one in series.values())
        assert min(one.blocks[0].calls[0] for one in series.values()) == 4
        return ran

    ran = order(1)
    rounds = ["".join(ran[at : at + 3]) for at in range(0, len(ran), 3)]
    assert {"".join(sorted(one)) for one in rounds} == {"abc"}
    assert len(set(rounds)) > 1
    assert order(1) == ran


def test_a_result_is_put_between_its_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the page stays as it is, and a page without the marks is left alone."""
    page = tmp_path / "RESULTS.md"
    page.write_text("a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n", encoding="utf-8")
    monkeypatch.setattr(harness, "_RESULTS", page)
    harness.publish("x", ["new", "figures"], write=True)
    assert page.read_text(encoding="utf-8") == "a\n<!-- x: begin -->\n\nnew\n\nfigures\n\n<!-- x: end -->\nb\n"
    before = page.read_bytes()
    with pytest.raises(SystemExit, match="no marks"):
        harness.publish("y", ["new"], write=True)
    assert page.read_bytes() == before


@pytest.mark.parametrize(
    ("written", "dropped", "said"),
    [
        (["a", "b"], 0, None),
        (["a"], 0, "1 calls lack their record"),
        (["a", "b", "c"], 0, "1 records their call"),
        (["a", "b", "b"], 0, "twice"),
        (["a", "b"], 3, "3 records were dropped"),
    ],
)
def test_a_steady_load_is_right_only_if_nothing_is_lost(written: list[str], dropped: int, said: str | None) -> None:
    """Its oracle sees a record too few, too many or twice."""
    sustained = pytest.importorskip("benchmarks.sustained", reason="it needs the extra examples", exc_type=ImportError)
    result = sustained.Sustained(1, 2, sent=["a", "b"], stats={"dropped": dropped}, written=Counter(written))

    with nullcontext() if said is None else pytest.raises(SystemExit, match=said):
        result.check()


def test_every_benchmark_has_its_section_in_results() -> None:
    """What `make bench --write` would publish has a place."""
    root = Path(harness.__file__).parent
    results = (root / "RESULTS.md").read_text(encoding="utf-8")
    make = (root.parent / "Makefile").read_text(encoding="utf-8")
    sections = {path.stem for path in root.glob("*.py") if "publish(" in path.read_text() and path.stem != "harness"}
    assert len(sections) >= 4
    for name in sections:
        assert f"<!-- {name}: begin -->" in results
        assert f"<!-- {name}: end -->" in results
        assert f"python -m benchmarks.{name}\n" in make
