"""The health of the fleet: GET /health asks each server in HEALTH_OF for what its logger counts."""

import argparse
import os
import time

import httpx
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import cipherlog_core

logger = cipherlog_core.start("health")
fleet = dict(entry.split("=") for entry in os.environ.get("HEALTH_OF", "").split(",") if entry)
fresh = httpx.Limits(max_keepalive_connections=0)  # on a kept one a live server may just be hanging up
client = httpx.AsyncClient(timeout=2, limits=fresh, trust_env=False)  # no proxy leads to this machine


async def health(_request: Request) -> JSONResponse:
    started = time.perf_counter()
    servers = {"health": msgspec.to_builtins(cipherlog_core.stats())}
    for name, url in fleet.items():
        try:
            servers[name] = (await client.get(url)).raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            servers[name] = None
            logger.event("unreachable", level="WARNING", of=name, exc=error)
    healthy = all(stats and stats["durable"] and not stats["dropped"] for stats in servers.values())
    logger.event("health", healthy=healthy, duration_ms=round(1000 * (time.perf_counter() - started), 3))
    return JSONResponse({"healthy": healthy, "servers": servers}, 200 if healthy else 503)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8803)
    uvicorn.run(Starlette(routes=[Route("/health", health)]), port=parser.parse_args().port, log_config=None)
