"""Asks models by tier, through OpenRouter: an MCP server on stdio, or over HTTP with --port."""

import argparse
import json
import logging
import os
from collections.abc import AsyncIterator
from typing import Any, Literal
from uuid import uuid4

import httpx
import msgspec
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from starlette.requests import Request
from starlette.responses import JSONResponse

import cipherlog_core
from cipherlog_core import bind
from openrouter_tap import TappedTransport, tag

Tier = Literal["fast", "balanced", "best"]
TIERS: dict[Tier, str] = {
    "fast": "openai/gpt-4o-mini",
    "balanced": "google/gemini-3-flash-preview",
    "best": "anthropic/claude-sonnet-4.6",
}

logger = cipherlog_core.start("llm-inference")
root = logging.getLogger()
root.setLevel(max(root.level, logging.INFO))  # at DEBUG libraries log what they carry: headers, prompts, answers
logging.getLogger("httpx").setLevel(logging.WARNING)  # its line for each request says less than the tap's
server = MCPServer("llm-inference")
openrouter = httpx.AsyncClient(
    transport=TappedTransport(),
    base_url=os.environ.get("OPENROUTER_BASE_URL", "https://openrouter.ai/api/v1"),
    headers={"Authorization": f"Bearer {os.environ.get('OPENROUTER_API_KEY', '')}"},
    timeout=120,
)


@server.tool()
async def ask(prompt: str, tier: Tier = "fast", session_id: str | None = None, request_id: str | None = None) -> str:
    """The whole answer of the tier's model."""
    with bind(session_id=session_id, request_id=request_id or uuid4().hex), tag(tier_id=tier, tool="ask"):
        reply = accepted(await openrouter.post("/chat/completions", json=body(prompt, tier)))
        answer = checked(reply.json())["choices"][0]["message"]["content"] or ""
        logger.event("answered", tier=tier, characters=len(answer))
        return answer


@server.tool()
async def ask_streaming(
    prompt: str, ctx: Context, tier: Tier = "fast", session_id: str | None = None, request_id: str | None = None
) -> str:
    """The answer, each piece of it told as progress when it comes."""
    with bind(session_id=session_id, request_id=request_id or uuid4().hex), tag(tier_id=tier, tool="ask_streaming"):
        pieces: list[str] = []
        async with openrouter.stream("POST", "/chat/completions", json=body(prompt, tier, stream=True)) as reply:
            if reply.is_error:
                await reply.aread()  # what kind of error it is stands in the cost record, too
            async for piece in contents(accepted(reply)):
                pieces.append(piece)
                await ctx.report_progress(len(pieces), message=piece)
        logger.event("answered", tier=tier, pieces=len(pieces))
        return "".join(pieces)


def body(prompt: str, tier: Tier, *, stream: bool = False) -> dict[str, object]:
    return {"model": TIERS[tier], "stream": stream, "messages": [{"role": "user", "content": prompt}]}


def accepted(reply: httpx.Response) -> httpx.Response:
    """The reply, unless its status is that of an error."""
    if reply.is_error:
        raise ToolError(f"OpenRouter's error {reply.status_code}")  # its body may quote the prompt
    return reply


async def contents(reply: httpx.Response) -> AsyncIterator[str]:
    whole = False
    async for line in reply.aiter_lines():
        whole = whole or line == "data: [DONE]"
        if line.startswith("data: {"):
            for choice in checked(json.loads(line.removeprefix("data: ")))["choices"]:
                if content := choice["delta"].get("content"):
                    yield content
    if not whole:
        raise ToolError("the answer is cut off")


def checked(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer, unless it is an error: one that comes too late for the status comes in the body of a 200."""
    if error := answer.get("error"):
        raise ToolError(f"OpenRouter's error {error.get('code')}")
    return answer


@server.custom_route("/stats", ["GET"])
async def stats(_request: Request) -> JSONResponse:
    return JSONResponse(msgspec.to_builtins(cipherlog_core.stats()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, help="serve HTTP at 127.0.0.1:PORT/mcp instead of stdio")
    if port := parser.parse_args().port:
        uvicorn.run(server.streamable_http_app(), port=port, log_config=None)  # its records go to the logger, too
    else:
        server.run()
