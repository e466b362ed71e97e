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

LATE = str(Path(__file__).with_name("late.py"))


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
