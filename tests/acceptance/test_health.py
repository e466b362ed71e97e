"""What the health server calls healthy."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("mcp", reason="the example servers need the extra examples")

from benchmarks.sustained import environment_for, serving
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from openrouter_tap.simulator import running

LATE = str(Path(__file__).with_name("late.py"))


def test_a_proxy_of_the_environment_is_not_between_health_and_its_fleet(tmp_path: Path) -> None:
    """Servers of this machine are asked themselves: a proxy elsewhere would know nothing of them."""

    async def run() -> int:
        async with serving("routing_metadata_mcp.py", environment_for("http://127.0.0.1:1", tmp_path)) as (_, url):
            settings = {"HEALTH_OF": f"it={url}/stats", "HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": ""}
            environment = environment_for(url, tmp_path, **settings)
            async with serving("health_server.py", environment) as (_, health), httpx.AsyncClient() as client:
                return (await client.get(f"{health}/health")).status_code

    assert asyncio.run(run()) == 200


def test_what_answers_without_counts_is_not_healthy(tmp_path: Path) -> None:
    """A program that has taken the port of a dead server, say, with a page for everybody: a 503, not a 500."""

    async def run() -> tuple[int, Any]:
        with running(Starlette(routes=[Route("/stats", lambda _: HTMLResponse("<p>hello</p>"))])) as origin:
            environment = environment_for(origin, tmp_path, HEALTH_OF=f"it={origin}/stats")
            async with serving("health_server.py", environment) as (_, health), httpx.AsyncClient() as client:
                reply = await client.get(f"{health}/health")
                return reply.status_code, reply.json()["servers"]["it"]

    assert asyncio.run(run()) == (503, None)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_fleet_is_not_healthy_when_one_cannot_keep_what_it_accepts(is_there: bool, tmp_path: Path) -> None:
    """Because its lines are in its memory only, or because it does not answer: a 503, and which one it is."""

    async def run() -> tuple[int, Any]:
        async with serving(LATE, environment_for("http://127.0.0.1:1", tmp_path / "it", IN_MEMORY="1")) as (_, url):
            with socket.create_server(("127.0.0.1", 0)) as free:
                nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
            of = f"it={url if is_there else nobody}/stats"
            environment = environment_for(url, tmp_path / "health", HEALTH_OF=of)
            async with serving("health_server.py", environment) as (_, health), httpx.AsyncClient() as client:
                reply = await client.get(f"{health}/health")
                return reply.status_code, reply.json()

    status, told = asyncio.run(run())

    it = told["servers"]["it"]
    assert (status, told["healthy"]) == (503, False)
    assert it["durable"] is False if is_there else it is None
    assert told["servers"]["health"]["durable"] is True
