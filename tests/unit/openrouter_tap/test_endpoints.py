"""What the endpoints tell that are neither chat, `/responses` nor `/messages`."""

from __future__ import annotations

import os
from typing import Any

import httpx
import pytest
from conftest import Logs
from dialects import observed
from replies import DONE, ENVELOPE, USAGE, dumps

from openrouter_tap import CallError, CallEvent, Cost, TapOptions, TappedTransport, Tokens, async_event_hooks
from openrouter_tap._json_stream import JsonStream
from openrouter_tap._parse.coding import WHOLE
from openrouter_tap._sse_stream import SseStream

pytestmark = pytest.mark.usefixtures("logs")  # some replies give a notice

BASE = "https://openrouter.ai/api/v1"
SPLIT = {"upstream_inference_cost": 6e-08, "upstream_inference_prompt_cost": 6e-08}
EMBEDDED = {"prompt_tokens": 3, "total_tokens": 3, "cost": 6e-08, "is_byok": False, "cost_details": SPLIT}
HEARD = {"input_tokens": 83, "output_tokens": 30, "total_tokens": 113, "seconds": 9.2, "cost": 0.000508}
TOKENS = Tokens(1200, 300, 1500, 100, 7, 50, 7, 2)
COST = Cost(0.01, 0.0023, None, 0.0123, 0.0123, is_byok=False, source="provider")


def embeddings(data: object) -> dict[str, Any]:
    """In the order of the wire: what it is and what it cost comes behind the vectors."""
    about = {"model": "embed-1", "usage": EMBEDDED, "provider": "Maker", "id": "gen-emb-1790000000-a"}
    return {"object": "list", "data": data, **about}


def event_data(event: object) -> bytes:
    return b"data: %b\n\n" % dumps(event)


def of_json(path: str, body: object, **headers: str) -> CallEvent:
    return observed(JsonStream, [dumps(body)], f"{BASE}/{path}", content_type="application/json", **headers)[0]


def of_stream(path: str, chunks: list[bytes], **options: Any) -> CallEvent:
    return observed(SseStream, chunks, f"{BASE}/{path}", content_type="text/event-stream", **options)[0]


@pytest.mark.parametrize(
    ("path", "body", "model", "tokens", "cost"),
    [
        (
            "completions",
            {**ENVELOPE, "choices": [{"text": "a", "finish_reason": "stop"}], "usage": USAGE},
            "maker/model-1-20260101",
            TOKENS,
            COST,
        ),
        (
            "embeddings",
            embeddings([{"embedding": [0.1, 0.2], "index": 0}]),
            "embed-1",
            Tokens(3, None, 3),
            Cost(6e-08, None, None, 6e-08, 6e-08, is_byok=False, source="provider"),
        ),
        (
            "rerank",
            {"id": "gen-rerank-1", "model": "rerank-1", "results": [], "usage": {"cost": 0.001, "search_units": 1}},
            "rerank-1",
            Tokens(),
            Cost(total=0.001, source="provider"),
        ),
        (
            "rerank",
            {"id": "gen-rerank-1", "model": "rerank-2", "results": [], "usage": {"total_tokens": 40, "cost": 2e-06}},
            "rerank-2",
            Tokens(total=40),
            Cost(total=2e-06, source="provider"),
        ),
        ("images", {"created": 1, "data": [{"b64_json": "iVBORw0K"}], "usage": USAGE}, None, TOKENS, COST),
        (
            "audio/transcriptions",
            {"text": "Hello.", "usage": HEARD},
            None,
            Tokens(83, 30, 113),
            Cost(total=0.000508, source="provider"),
        ),
    ],
    ids=["completions", "embeddings", "rerank by units", "rerank by tokens", "images", "transcriptions"],
)
def test_a_reply_tells_its_cost(path: str, body: object, model: str | None, tokens: Tokens, cost: Cost) -> None:
    """Model, tokens and money as far as the endpoint tells them; id and provider from headers where it does not."""
    event = of_json(path, body, x_generation_id="gen-of-header", x_provider_name="Header")

    told: Any = body
    assert (event.endpoint, event.outcome, event.error) == (path.replace("/", "."), "completed", None)
    assert (event.model, event.tokens, event.cost) == (model, tokens, cost)
    assert event.generation_id == told.get("id", "gen-of-header")
    assert event.upstream_provider == told.get("provider", "Header")


@pytest.mark.parametrize("width", [10, 300_000], ids=["short", "long"])
def test_what_stands_behind_the_vectors_is_read(width: int) -> None:
    """Embeddings end with model, usage, provider and id: a reply of any length tells all four."""
    event = of_json("embeddings", embeddings([{"embedding": [0.123456] * width, "index": 0, "id": "none"}]))

    assert (event.bytes_in > WHOLE) == (width > 10)
    assert (event.model, event.upstream_provider) == ("embed-1", "Maker")
    assert (event.generation_id, event.cost.total, event.tokens.prompt) == ("gen-emb-1790000000-a", 6e-08, 3)


@pytest.mark.parametrize("image", ["iVBORw0K" * 40, "iVBORw0K" * 300_000], ids=["short", "long"])
@pytest.mark.parametrize("taken", [None, 3], ids=["to the end", "to [DONE]"])
def test_an_image_that_comes_in_parts(image: str, taken: int | None) -> None:
    """The first part is the first token; the last event tells the cost, however long the image in it is."""
    part = {"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": image}
    last = {"type": "image_generation.completed", "b64_json": image, "usage": USAGE}
    event = of_stream("images", [event_data(part), event_data(last), DONE], taken=taken)

    assert (event.endpoint, event.outcome, event.streamed) == ("images", "completed", True)
    assert (event.tokens, event.cost) == (TOKENS, COST)
    assert event.ttft_ms is not None


def test_an_image_that_fails_in_mid_stream() -> None:
    """The error event decides the outcome, and its message is not kept."""
    error = {"message": "No", "code": "moderation", "type": "invalid_request"}
    event = of_stream("images", [event_data({"type": "error", "error": error}), DONE])

    assert (event.outcome, event.error) == ("stream_error", CallError("invalid_request", "moderation"))
    assert (event.cost.source, event.ttft_ms) == ("unknown", None)


def test_legacy_completions_stream() -> None:
    """Text is content, and the usage in the last event the cost."""
    choices = [{"choices": [{"text": text, "finish_reason": None}]} for text in ("", "word ")]
    events = [*choices, {"choices": [{"text": "", "finish_reason": "stop"}], "usage": USAGE}]
    event = of_stream("completions", [*(event_data({**ENVELOPE, **one}) for one in events), DONE])

    assert (event.endpoint, event.finish_reason, event.tokens, event.cost) == ("completions", "stop", TOKENS, COST)
    assert event.ttft_ms is not None


@pytest.mark.parametrize("start", [b"ID3\x04", b"\x1f\x8b", b"\x78\x9c", b"{", b'{"usage": {"cost": 1}}'])
@pytest.mark.parametrize("size", [50, 2 * WHOLE])
@pytest.mark.parametrize("kind", ["audio/mpeg", "audio/pcm", "Audio/L16; rate=24000"])
def test_speech_is_not_metered_on_the_wire(start: bytes, size: int, kind: str) -> None:
    """Whatever the bytes look like they pass as they are, and the event says unknown and the generation id."""
    chunks = [start, os.urandom(size)]
    event, passed = observed(
        JsonStream, chunks, f"{BASE}/audio/speech", content_type=kind, x_generation_id="gen-tts-1790000000-a"
    )

    assert passed == chunks
    assert (event.endpoint, event.outcome, event.error) == ("audio.speech", "completed", None)
    assert (event.generation_id, event.cost, event.tokens) == ("gen-tts-1790000000-a", Cost(), Tokens())
    assert event.bytes_in == sum(map(len, chunks))


def test_speech_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sound is not taken for text: to decode a megabyte of it would hold the program for milliseconds."""
    searched: list[object] = []
    monkeypatch.setattr("openrouter_tap._json_stream.read_reply", lambda body, **_: searched.append(body))
    observed(JsonStream, [b"ID3\4", os.urandom(99)], f"{BASE}/audio/speech", content_type="audio/mpeg")
    assert searched == []

    observed(JsonStream, [b"ID3\4", os.urandom(99)], f"{BASE}/audio/speech", content_type="text/html")
    assert len(searched) == 1


def test_speech_that_is_refused() -> None:
    """The error is JSON, and told."""
    event, _ = observed(
        JsonStream,
        [dumps({"error": {"code": 402, "message": "no"}})],
        f"{BASE}/audio/speech",
        content_type="audio/mpeg",
    )

    assert (event.outcome, event.error) == ("stream_error", CallError("402", "402"))


class Videos:
    """A transport with one video: the job is made, polled twice, and then it is done."""

    def __init__(self, library: Any, last: dict[str, Any], job: str) -> None:
        self.library, self.last, self.job = library, last, job
        self.polls = 0

    def reply(self, request: Any) -> Any:
        waiting = {"id": self.job, "polling_url": f"/api/v1/videos/{self.job}", "status": "pending"}
        if request.method == "POST":
            return self.library.Response(202, json=waiting)
        if request.url.path.endswith("/content"):
            return self.library.Response(200, content=b"\0" * 99, headers={"content-type": "video/mp4"})
        self.polls += 1
        return self.library.Response(200, json=waiting if self.polls < 3 else {**waiting, **self.last})


def follow(library: Any, videos: Videos, events: list[CallEvent]) -> None:
    """What a program does: it asks for a video, polls beyond its end, and fetches it."""
    transport = TappedTransport(library.MockTransport(videos.reply), options=TapOptions(on_event=events.append))
    with library.Client(transport=transport) as client:
        client.post(f"{BASE}/videos", json={"model": "maker/video-1", "prompt": "a cat"})
        for _ in range(5):
            client.get(f"{BASE}/videos/{videos.job}")
        client.get(f"{BASE}/videos/{videos.job}/content?index=0")


def test_a_video_is_metered_by_the_poll_that_tells_its_cost(library: Any, events: list[CallEvent], logs: Logs) -> None:
    """Two events: the request, whose cost is unknown, and the first poll with a usage; other polls leave none."""
    job = f"gen-vid-1790000000-{library.__name__}"
    follow(library, Videos(library, {"status": "completed", "usage": {"cost": 0.4, "is_byok": False}}, job), events)

    asked, told = events
    assert [event.endpoint for event in events] == ["videos"] * 2
    assert [event.generation_id for event in events] == [job] * 2
    assert (asked.http_status, asked.outcome, asked.request_model, asked.cost) == (
        202,
        "completed",
        "maker/video-1",
        Cost(),
    )
    assert (told.http_status, told.outcome, told.finish_reason) == (200, "completed", "completed")
    assert (told.cost, told.attempt) == (Cost(total=0.4, is_byok=False, source="provider"), 1)
    assert len(logs.read()) == 2


def test_the_generation_id_of_a_video_is_the_one_that_it_is_billed_by(events: list[CallEvent]) -> None:
    """``generation_id`` where a poll tells one; the job's own id until then."""
    last = {"status": "completed", "generation_id": "gen-vid-1790000000-billed", "usage": {"cost": 0.4}}
    follow(httpx, Videos(httpx, last, "job-of-billed"), events)

    assert [event.generation_id for event in events] == ["job-of-billed", "gen-vid-1790000000-billed"]


def test_a_video_that_fails(events: list[CallEvent]) -> None:
    """The first poll that tells so is an event; the reason is a sentence, and not kept."""
    follow(httpx, Videos(httpx, {"status": "failed", "error": "Your prompt is not allowed"}, "job-that-fails"), events)

    assert [event.outcome for event in events] == ["completed", "stream_error"]
    assert (events[1].error, events[1].cost.source) == (CallError("200"), "unknown")


@pytest.mark.parametrize("path", ["videos/models", "videos", "images/models", "generation", "models/a/b/endpoints"])
def test_other_questions_leave_no_event(path: str, events: list[CallEvent]) -> None:
    """A GET that is no poll is none of an inference, whatever it tells."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"data": [], "usage": None, "status": "ok"}))
    with httpx.Client(transport=TappedTransport(transport, options=TapOptions(on_event=events.append))) as client:
        client.get(f"{BASE}/{path}")

    assert events == []


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_polls_through_hooks(events: list[CallEvent]) -> None:
    """The other doors meter a video as well."""
    videos = Videos(httpx, {"status": "completed", "usage": {"cost": 0.4}}, "job-through-hooks")
    hooks = async_event_hooks(options=TapOptions(on_event=events.append))
    async with httpx.AsyncClient(transport=httpx.MockTransport(videos.reply), event_hooks=hooks) as client:
        for _ in range(4):
            await client.get(f"{BASE}/videos/{videos.job}")

    assert [event.cost.total for event in events] == [0.4]


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("images", {"prompt": "a cat", "input_references": [{"image_url": {"url": "data:" + "A" * 200_000}}]}),
        ("rerank", {"query": "which", "documents": ["x" * 200_000]}),
        ("audio/transcriptions", {"input_audio": {"data": "A" * 200_000, "format": "wav"}}),
        ("completions", {"prompt": "x" * 200_000}),
        ("embeddings", {"input": ["x" * 200_000]}),
        ("videos", {"frame_images": [{"image_url": {"url": "data:" + "A" * 200_000}}], "prompt": "a cat"}),
    ],
)
@pytest.mark.parametrize("order", ["model first", "model last"])
def test_the_model_of_a_long_request(path: str, more: dict[str, Any], order: str, events: list[CallEvent]) -> None:
    """Known wherever it stands beside what makes the request long."""
    model = {"model": "maker/model"}
    asked = {**model, **more} if order == "model first" else {**more, **model}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"usage": {"cost": 0.1}}))
    with httpx.Client(transport=TappedTransport(transport, options=TapOptions(on_event=events.append))) as client:
        client.post(f"{BASE}/{path}", content=dumps(asked))

    assert [event.request_model for event in events] == ["maker/model"]
