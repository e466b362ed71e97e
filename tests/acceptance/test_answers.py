"""What llm-inference makes of the answers that OpenRouter gives now and then."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the example servers need the extra examples")

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from fleet import records, stdio
from openrouter_tap.simulator import running

FAILED = {"error": {"code": 502, "message": "cannot answer: tell me a secret"}}
USAGE = {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "cost": 0.5}}
WHOLE = {
    "nothing to say": {"choices": [{"message": {"content": None}}], **USAGE},
    "no error": {"choices": [{"message": {"content": "hi"}}], "error": None, **USAGE},
    "failed": FAILED,
    "refused": {"error": {"code": 402, "message": "tell me a secret", "metadata": {"error_type": "payment_required"}}},
}
PIECES: dict[str, list[dict[str, Any]]] = {
    "usage apart": [{"choices": [{"delta": {"content": "hi"}}]}, {"choices": [], **USAGE}],
    "failed": [{"choices": [{"delta": {"content": "hi"}}]}, {"choices": [{"delta": {"content": ""}}], **FAILED}],
    "cut off": [{"choices": [{"delta": {"content": "hi"}}]}],
    "no stream": [],
    "refused": [],
}


async def answer(request: Request) -> Response:
    asked = await request.json()
    prompt = asked["messages"][0]["content"]
    if prompt == "refused":
        return JSONResponse(WHOLE[prompt], 402)
    if not asked["stream"]:
        return JSONResponse(WHOLE[prompt])
    if prompt == "no stream":
        return HTMLResponse("<p>a proxy's greeting</p>")
    events = [": OPENROUTER PROCESSING", *(f"data: {json.dumps(piece)}" for piece in PIECES[prompt])]
    events += [] if prompt == "cut off" else ["data: [DONE]"]
    return Response("".join(f"{event}\n\n" for event in events), media_type="text/event-stream")


def test_odd_answers(tmp_path: Path) -> None:
    """An empty answer and one whose usage comes without a choice are answers; an error in a 200 is an error.

    Its message, which may quote the prompt, is not logged. A stream that lacks its end is an error, too. The client is
    told which.
    """

    async def run(origin: str) -> dict[tuple[str, str], str]:
        got: dict[tuple[str, str], str] = {}
        async with stdio("llm_inference_mcp.py", origin, tmp_path) as client:
            for tool, prompts in (("ask", WHOLE), ("ask_streaming", PIECES)):
                for prompt in prompts:
                    reply = await client.call_tool(tool, {"prompt": prompt})
                    got[tool, prompt] = reply.content[0].text if reply.is_error else reply.structured_content["result"]
        return got

    with running(Starlette(routes=[Route("/api/v1/chat/completions", answer, methods=["POST"])])) as origin:
        got = asyncio.run(run(origin))

    assert {key: text.removeprefix(f"Error executing tool {key[0]}: ") for key, text in got.items()} == {
        ("ask", "nothing to say"): "",
        ("ask", "no error"): "hi",
        ("ask", "failed"): "OpenRouter's error 502",
        ("ask", "refused"): "OpenRouter's error 402",
        ("ask_streaming", "usage apart"): "hi",
        ("ask_streaming", "failed"): "OpenRouter's error 502",
        ("ask_streaming", "cut off"): "the answer is cut off",
        ("ask_streaming", "no stream"): "the answer is cut off",
        ("ask_streaming", "refused"): "OpenRouter's error 402",
    }
    costs = records(tmp_path, "openrouter-costs")
    ends = ["completed", "completed", "stream_error", "http_error"]
    ends += ["completed", "stream_error", "failed", "failed", "http_error"]
    assert [it["fields"]["outcome"] for it in costs] == ends
    assert [it["fields"]["error"]["type"] for it in costs if it["fields"]["http_status"] == 402] == 2 * [
        "payment_required"
    ]
    assert FAILED["error"]["message"] not in "".join(map(str, records(tmp_path, "llm-inference")))
