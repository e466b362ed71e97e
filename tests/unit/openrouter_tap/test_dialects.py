"""What `/responses` and `/messages` say otherwise than chat."""

from __future__ import annotations

import gzip
import random
from typing import Any

import pytest
from conftest import Logs
from dialects import (
    BEGUN_USAGE,
    DIALECTS,
    MESSAGE_USAGE,
    MESSAGES,
    RESPONSE_USAGE,
    RESPONSES,
    answered,
    message_delta,
    message_event,
    message_stream,
    observed,
    response,
    response_delta,
    response_event,
    response_stream,
)
from replies import COMMENT, DONE, ID, URL, chunk, dumps, stream

from openrouter_tap import CallError, CallEvent, Cost, Tokens
from openrouter_tap._json_stream import JsonStream
from openrouter_tap._sse_stream import SseStream

pytestmark = pytest.mark.usefixtures("logs")  # some replies give a notice

TOKENS = Tokens(1200, 300, 1500, 100, 7, 50)
COST = Cost(0.01, 0.0023, None, 0.0123, 0.0123, is_byok=False, source="provider")
BYOK = {
    "cost": 0.0001,
    "is_byok": True,
    "cost_details": {
        "upstream_inference_cost": 0.002,
        "upstream_inference_input_cost": 0.0015,
        "upstream_inference_output_cost": 0.0005,
        "upstream_inference_prompt_cost": 0.0015,
        "upstream_inference_completions_cost": 0.0005,
    },
}


def of_responses(chunks: list[bytes], **options: Any) -> CallEvent:
    return observed(SseStream, chunks, RESPONSES, **options)[0]


def of_messages(chunks: list[bytes], **options: Any) -> CallEvent:
    return observed(SseStream, chunks, MESSAGES, **options)[0]


def of_json(body: object, url: str) -> CallEvent:
    return observed(JsonStream, [dumps(body)], url)[0]


@pytest.mark.parametrize("streamed", [False, True], ids=["JSON", "SSE"])
@pytest.mark.parametrize("name", ["responses", "messages"])
def test_tokens_and_money(name: str, *, streamed: bool) -> None:
    """All that is told of both, in the words of chat: what is cached is in the prompt, thinking is reasoning."""
    url, whole, events = DIALECTS[name]
    event = observed(SseStream, events(), url)[0] if streamed else of_json(whole(), url)

    assert (event.outcome, event.error, event.streamed, event.endpoint) == ("completed", None, streamed, name)
    assert (event.tokens, event.cost) == (TOKENS, COST)
    assert (event.model, event.generation_id) == ("maker/model-1-20260101", ID)
    assert event.upstream_provider == (None if name == "responses" else "Maker")
    assert event.service_tier == ("default" if name == "responses" else None)


@pytest.mark.parametrize("name", ["responses", "messages"])
def test_the_key_of_the_account_pays(name: str) -> None:
    """BYOK: the provider's charge is added to the fee, as decimals."""
    url, whole, _ = DIALECTS[name]
    event = of_json({**whole(), "usage": {**whole()["usage"], **BYOK}}, url)

    assert event.cost == Cost(0.0015, 0.0005, 0.0001, 0.0021, 0.002, is_byok=True, source="provider")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (response(), "completed"),
        (response(status="incomplete", incomplete_details={"reason": "max_output_tokens"}), "max_output_tokens"),
        (response(status="incomplete", incomplete_details={"reason": "content_filter"}), "content_filter"),
        (response(status="cancelled"), "cancelled"),
        (response(status="in_progress"), None),
        (response(status=None), None),
    ],
)
def test_finish_reason_of_responses(reply: dict[str, Any], reason: str | None) -> None:
    """The reason of what is incomplete, else the status if it is a last one; the same of JSON and of a stream."""
    last = response_event("completed", response=reply)

    assert of_json(reply, RESPONSES).finish_reason == reason
    assert of_responses([*response_stream()[:-2], last, DONE]).finish_reason == reason


@pytest.mark.parametrize("reason", ["end_turn", "max_tokens", "tool_use", "refusal"])
def test_finish_reason_of_messages(reason: str) -> None:
    """The stop reason, of JSON or of message_delta."""
    events = message_stream()
    events[-3] = message_event("message_delta", delta={"stop_reason": reason}, usage=MESSAGE_USAGE)

    assert of_json(answered(stop_reason=reason), MESSAGES).finish_reason == reason
    assert of_messages(events).finish_reason == reason


FAILED = {"error": {"code": "server_error", "message": "m"}, "error_type": "server"}
OVERLOADED = {"type": "overloaded_error", "message": "m", "error_type": "provider_overloaded"}


@pytest.mark.parametrize(
    ("chunks", "error"),
    [
        (response_stream(2, "failed", **FAILED), CallError("server", "server_error")),
        (response_stream(2, "failed"), CallError("200")),
        ([*response_stream()[:5], response_event("failed", response=FAILED)], CallError("server", "server_error")),
        (
            [
                *response_stream()[:5],
                b'data: {"type":"error","code":"rate_limit_exceeded","message":"m","param":null}\n\n',
            ],
            CallError("200", "rate_limit_exceeded"),
        ),
        ([*response_stream()[:5], b'data: {"type":"error","code":429,"message":"m"}\n\n'], CallError("429", "429")),
        (
            [*response_stream()[:5], b"data: %b\n\n" % dumps({"error": {"code": 502, "message": "m"}}), DONE],
            CallError("502", "502"),
        ),
    ],
    ids=[
        "failed",
        "without an error",
        "little of a response",
        "error event",
        "number",
        "as chat does",
    ],
)
def test_errors_in_a_stream_of_responses(chunks: list[bytes], error: CallError) -> None:
    """response.failed and error events: a stream error of the right type, and never the message."""
    event = of_responses(chunks)

    assert (event.outcome, event.error) == ("stream_error", error)
    assert (event.generation_id, event.model) == (ID, "maker/model-1-20260101")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (response(status="failed", **FAILED), CallError("server", "server_error")),
        (response(status="failed"), CallError("200")),
        ({"error": {"code": 429, "message": "m", "metadata": {"error_type": "rate_limit_exceeded"}}}, None),
        ({"type": "error", "error": OVERLOADED, "request_id": ID}, CallError("provider_overloaded")),
    ],
)
def test_errors_in_a_body(body: dict[str, Any], error: CallError | None) -> None:
    """The same inside a 200 of JSON, with an `error_type` beside the error or in it."""
    event = of_json({"id": ID, **body}, MESSAGES if "request_id" in body else RESPONSES)

    assert (event.outcome, event.error) == ("stream_error", error or CallError("rate_limit_exceeded", "429"))


@pytest.mark.parametrize("after", [1, 4, 6])
def test_an_error_event_of_messages(after: int) -> None:
    """Wherever it comes, with what the events before it said."""
    event = of_messages([*message_stream()[:after], message_event("error", error=OVERLOADED, request_id=ID)])

    assert (event.outcome, event.error) == ("stream_error", CallError("provider_overloaded"))
    assert (event.generation_id, event.upstream_provider) == (ID, "Maker")
    assert (event.tokens.prompt, event.tokens.completion, event.cost.source) == (1200, None, "unknown")


@pytest.mark.parametrize(
    "content",
    [
        response_delta("x"),
        response_delta("x", "reasoning_text"),
        response_delta("x", "reasoning_summary_text"),
        response_delta("{", "function_call_arguments"),
        response_delta("x", "refusal"),
        response_event("output_item.added", item={"type": "function_call", "name": "look_up", "arguments": ""}),
        message_delta(text="x"),
        message_delta(thinking="x"),
        message_delta(partial_json="{"),
        message_event("content_block_start", content_block={"type": "tool_use", "name": "look_up", "input": {}}),
    ],
    ids=lambda content: content[: content.index(b",")].decode(),
)
def test_the_first_token(content: bytes) -> None:
    """Text, reasoning, a refusal, arguments, a call of a tool; what stands before it is none, however it is cut."""
    of, before = (of_messages, message_stream(0)[:3]) if content[:5] == b"event" else (of_responses, HEAD)
    text = b"".join([*before, content])
    pieces = [text[at : at + 7] for at in range(0, len(text), 7)]

    for cut in ([*before, COMMENT, content], [text], pieces):
        assert of(cut).ttft_ms is not None
    assert of([*before, COMMENT]).ttft_ms is None


HEAD = response_stream(0)[:4]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("size", [1, 7, 40, 10**6])
@pytest.mark.parametrize("end", ["completed", "incomplete", "failed", "message_stop"])
def test_the_end_is_the_last_event(end: str, size: int, *, is_async: bool) -> None:
    """The call is over when that is there: a caller who closes then, ahead of [DONE], has completed it."""
    of, events = (of_messages, message_stream()) if end == "message_stop" else (of_responses, response_stream(5, end))
    text = b"".join(events[:-1])
    chunks = [text[at : at + size] for at in range(0, len(text), size)]
    event = of([*chunks, b"event: data\n", DONE], taken=len(chunks), is_async=is_async)

    assert event.outcome == ("stream_error" if end == "failed" else "completed")
    assert (event.tokens, event.cost) == (TOKENS, COST)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"], ids=repr)
@pytest.mark.parametrize("name", ["responses", "messages"])
def test_the_end_is_not_taken_from_a_line_before(name: str, newline: bytes) -> None:
    """However the last event is cut: where its type is told and its usage is not, nothing is over yet."""
    url, _, events = DIALECTS[name]
    text = b"".join(events()).replace(b"\n", newline)
    begin = text.rindex(b'"type":"response.completed"' if name == "responses" else b'"type":"message_delta"')
    for place in range(begin - 40, begin + 60):
        event, _ = observed(SseStream, [text[: place - 3], text[place - 3 : place], text[place:]], url)

        assert (event.outcome, event.tokens, event.cost) == ("completed", TOKENS, COST)


@pytest.mark.parametrize("taken", [None, 6], ids=["cut", "left"])
@pytest.mark.parametrize("name", ["responses", "messages"])
def test_a_stream_that_ends_before_its_end(name: str, taken: int | None) -> None:
    """Broken off it has failed, left it is left; the output is unknown, and so is the money."""
    url, _, events = DIALECTS[name]
    event, _ = observed(SseStream, events()[:7], url, taken=taken)

    assert event.outcome == ("failed" if taken is None else "closed_early")
    assert (event.tokens.completion, event.tokens.total, event.cost) == (None, None, Cost())
    assert (event.generation_id, event.model) == (ID, "maker/model-1-20260101")


def test_an_end_in_a_text_is_none() -> None:
    """What the model writes about events ends nothing."""
    text = 'data: {"type":"response.completed"}\n\ndata: {"type": "message_stop"}\n\ndata: [DONE]\n\n'
    for url, event in ((RESPONSES, response_delta(text)), (MESSAGES, message_delta(text=text))):
        seen, _ = observed(SseStream, [*DIALECTS["responses"][2]()[:4], event, DONE[:4]], url)

        assert (seen.outcome, seen.cost) == ("failed", Cost())


@pytest.mark.parametrize("size", [16384, 70_000, 1 << 30])
@pytest.mark.parametrize("tail", [0, 40_000, 200_000], ids=["usage last", "before more", "before much more"])
@pytest.mark.parametrize("words", [200_000, 225_000, 240_000, 600_000])
def test_a_last_event_longer_than_what_is_kept(words: int, tail: int, size: int) -> None:
    """A response of 1 to 3 MiB in one event: its usage, wherever it is cut, and the ids of the first event."""
    reply = {**response("word " * words), "prompt": "i" * tail}
    text = b"".join([*response_stream(3)[:-2], response_event("completed", response=reply), DONE])
    event = of_responses([text[at : at + size] for at in range(0, len(text), size)])

    assert (event.outcome, event.tokens, event.cost) == ("completed", TOKENS, COST)
    assert (event.generation_id, event.model) == (ID, "maker/model-1-20260101")


@pytest.mark.parametrize(
    ("delta", "tokens"),
    [
        (MESSAGE_USAGE, TOKENS),
        ({"output_tokens": 300, "cost": 0.0123}, Tokens(1200, 300, 1500, 100, 7, None)),
        ({"input_tokens": 993, "output_tokens": 1}, Tokens(1100, 1, 1101, 100, 7, None)),
        ({"output_tokens": 300, "cache_read_input_tokens": 0}, Tokens(1100, 300, 1400, 0, 7, None)),
        (None, Tokens(1200, None, None, 100, 7, None)),
    ],
    ids=["all again", "output only", "another input", "nothing read", "none"],
)
def test_usage_of_both_ends_of_a_message(delta: dict[str, Any] | None, tokens: Tokens) -> None:
    """message_delta wins, message_start fills in, but its output is a guess and no count."""
    events = message_stream()
    events[-3] = message_event("message_delta", delta={"stop_reason": "end_turn"}, usage=delta)
    event = of_messages(events)

    assert BEGUN_USAGE["output_tokens"] == 3
    assert (event.outcome, event.tokens) == ("completed", tokens)


def test_a_long_answer_keeps_its_input() -> None:
    """Though message_start is long gone when message_delta comes without its counts."""
    event = of_messages(message_stream(5000, {"output_tokens": 300, "cost": 0.5}))

    assert (event.tokens, event.cost.total) == (Tokens(1200, 300, 1500, 100, 7, None), 0.5)


@pytest.mark.parametrize("usage", [None, {}, [], "text", {"input_tokens": "many", "cost": -1}])
def test_usage_that_is_none(usage: object) -> None:
    """Whatever stands in its place, the call is completed and its cost unknown."""
    for event in (
        of_json(response(usage=usage), RESPONSES),
        of_responses(response_stream(usage=usage)),
        of_json(answered(usage=usage), MESSAGES),
    ):
        assert (event.outcome, event.cost.total, event.tokens.prompt) == ("completed", None, None)


def test_chat_is_read_as_chat_on_any_path() -> None:
    """A path that is none of the three: ends and usage of chat."""
    for url in (URL, "https://openrouter.ai/api/v1/other/path", "https://relay.test/x/chat/completions"):
        event, _ = observed(SseStream, [*stream(), chunk({})], url, taken=len(stream()))

        assert (event.outcome, event.cost.total) == ("completed", 0.0123)


def test_counts_are_not_mixed(logs: Logs) -> None:
    """The words of one endpoint on the path of another are read all the same."""
    assert of_json({"id": ID, "usage": RESPONSE_USAGE}, URL).tokens == TOKENS
    assert of_json({"id": ID, "usage": MESSAGE_USAGE}, RESPONSES).tokens == TOKENS
    assert logs.read() == []


LONG = "word " * 400_000


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (dumps(response(LONG)), "completed"),
        (dumps(response(LONG))[:-9], "failed"),
        (gzip.compress(dumps(response(LONG))), "completed"),
        (gzip.compress(dumps(response(LONG))[:-9]), "failed"),
        (b"xy" * (1 << 20), "failed"),
        (b"<html>" + bytes(2 << 20), "failed"),
    ],
    ids=["whole", "cut", "gzipped", "cut and gzipped", "noise", "HTML"],
)
@pytest.mark.parametrize("kind", [JsonStream, SseStream])
def test_a_long_body_that_is_broken_has_failed(kind: Any, body: bytes, outcome: str) -> None:
    """Though only its ends are kept, as a short one has, under either name."""
    chunks = [body[at : at + 65_536] for at in range(0, len(body), 65_536)]
    event, _ = observed(kind, chunks, RESPONSES)

    assert event.outcome == outcome
    assert (event.cost == COST) == (outcome == "completed")


def test_a_long_compressed_stream_has_not_failed() -> None:
    """It is not followed: nothing is known, and nothing said to be broken."""
    noise = random.Random(1).randbytes(600_000).hex()
    body = gzip.compress(b"".join([*response_stream()[:4], response_delta(noise), *response_stream()[-2:]]))
    event = of_responses([body[at : at + 16_384] for at in range(0, len(body), 16_384)], content_encoding="gzip")

    assert (event.outcome, event.cost) == ("completed", Cost())
