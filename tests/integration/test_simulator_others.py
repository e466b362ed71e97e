"""The look-alike's endpoints that do not chat, through real clients: what it bills is what the tap records."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest
from conftest import Logs

from openrouter_tap import CallEvent, Cost, TapOptions, TappedTransport
from openrouter_tap.simulator import MODELS, SPECIALISTS, create_app, running

EMBED, UNITS, TOKENS, DRAW, HEAR, SPEAK, FILM = SPECIALISTS
SMALL = "openai/gpt-4o-mini"
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "completions": (SMALL, {"prompt": "What did it cost? " * 20}),
    "embeddings": (EMBED, {"input": ["one text", "another text"]}),
    "rerank": (UNITS, {"query": "cost", "documents": ["one", "two"], "top_n": 1}),
    "images": (DRAW, {"prompt": "a cat"}),
    "audio/transcriptions": (HEAR, {"input_audio": {"data": "AAAA", "format": "wav"}}),
    "audio/speech": (SPEAK, {"input": "Hello.", "voice": "af_bella"}),
    "videos": (FILM, {"prompt": "a cat"}),
}
PRICED = [*(path for path in ASKED if path not in ("audio/speech", "videos"))]
IN_HEADER = {"images", "audio/transcriptions", "audio/speech"}


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with running(create_app()) as origin:
        yield origin


@pytest.fixture
def client(library: ModuleType, origin: str, events: list[CallEvent], logs: Logs) -> Iterator[Any]:
    transport = TappedTransport(options=TapOptions(hosts=("127.0.0.1",), on_event=events.append))
    options = {"base_url": f"{origin}/api/v1/", "headers": {"authorization": "Bearer none"}, "timeout": 5}
    with library.Client(transport=transport, **options) as client:
        yield client


def ask(client: Any, path: str, **more: Any) -> Any:
    model, asked = ASKED[path]
    return client.post(path, json={"model": model, **asked, **more})


@pytest.mark.parametrize("path", PRICED)
def test_what_is_billed_is_what_is_recorded(path: str, client: Any, events: list[CallEvent]) -> None:
    """The price of the tokens or units, in the reply and in the event; the id from wherever the endpoint has it."""
    reply = ask(client, path)

    (event,) = events
    usage, entry = reply.json()["usage"], (MODELS | SPECIALISTS)[ASKED[path][0]]
    units = {"rerank": 1, "audio/transcriptions": usage.get("seconds")}.get(path, 0)
    tokens = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    price = tokens[0] * entry.prompt_price + tokens[1] * entry.completion_price + Decimal(units) * entry.unit_price
    assert event.cost.total == usage["cost"] == pytest.approx(float(price), rel=1e-12)
    assert (event.cost.source, event.outcome, event.endpoint) == ("provider", "completed", path.replace("/", "."))
    assert (event.request_model, event.http_status) == (ASKED[path][0], 200)
    assert event.generation_id == (reply.headers["x-generation-id"] if path in IN_HEADER else reply.json()["id"])
    assert ("x-generation-id" in reply.headers) == (path not in ("embeddings", "rerank"))


@pytest.mark.parametrize("model", [None, 1, [], {}, "no/such"])
def test_a_model_that_is_none_is_refused(model: Any, client: Any) -> None:
    """As what is wrong with the request, whatever its JSON says."""
    reply = client.post("/chat/completions", json={"model": model, "messages": []})

    assert reply.status_code == 400


def test_rerank_by_tokens(client: Any, events: list[CallEvent]) -> None:
    """Another provider bills tokens."""
    usage = ask(client, "rerank", model=TOKENS).json()["usage"]

    (event,) = events
    assert (event.tokens.total, event.cost.total) == (usage["total_tokens"], usage["cost"])
    assert event.cost.total > 0
    assert "search_units" not in usage


@pytest.mark.parametrize("path", ["completions", "images"])
def test_a_stream(path: str, client: Any, events: list[CallEvent]) -> None:
    """The same cost, at the end of a stream with a first token."""
    whole = ask(client, path).json()["usage"]
    reply = ask(client, path, stream=True)

    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.text.endswith("data: [DONE]\n\n")
    assert (events[1].streamed, events[1].outcome) == (True, "completed")
    assert events[1].cost.total == whole["cost"]
    assert events[1].ttft_ms is not None


def test_speech_says_no_cost(client: Any, events: list[CallEvent]) -> None:
    """Sound, an id in the header, and nothing to bill by."""
    reply = ask(client, "audio/speech")

    (event,) = events
    assert reply.content.startswith(b"ID3")
    assert (event.generation_id, event.cost) == (reply.headers["x-generation-id"], Cost())


def test_a_video_from_the_request_to_the_film(client: Any, origin: str, events: list[CallEvent]) -> None:
    """Its cost is in the poll that finds it made, and is recorded once, however often that is asked again."""
    job = ask(client, "videos").json()
    told = [client.get(f"videos/{job['id']}").json() for _ in range(4)]
    film = client.get(f"{origin}{told[-1]['unsigned_urls'][0]}")

    assert [one["status"] for one in told] == ["in_progress", "completed", "completed", "completed"]
    assert film.headers["content-type"] == "video/mp4"
    assert [event.http_status for event in events] == [202, 200]
    assert [event.cost.total for event in events] == [None, told[-1]["usage"]["cost"]]
    assert {event.generation_id for event in events} == {job["id"]}


@pytest.mark.parametrize(
    ("model", "outcome", "error"),
    [
        ("simulator/rate-limited", "http_error", "rate_limit_exceeded"),
        ("simulator/no-cost", "completed", None),
        ("simulator/not-json", "failed", "200"),
    ],
)
def test_what_goes_wrong(model: str, outcome: str, error: str | None, client: Any, events: list[CallEvent]) -> None:
    """Each scenario on each endpoint: one event, and an unknown cost is null."""
    for path in ASKED:
        ask(client, path, model=model)

    assert [event.endpoint for event in events] == [path.replace("/", ".") for path in ASKED]
    told = {(event.outcome, event.error and event.error.type, event.cost.total, event.cost.source) for event in events}
    assert told == {(outcome, error, None, "unknown")}


@pytest.mark.parametrize("path", [path for path in ASKED if path != "audio/speech"])
def test_an_error_in_a_good_reply(path: str, client: Any, events: list[CallEvent]) -> None:
    """In the body, or for a video in the poll that tells of its end."""
    job = ask(client, path, model="simulator/midstream-error").json()
    if path == "videos":
        for _ in range(3):
            client.get(f"videos/{job['id']}")

    assert [event.outcome for event in events] == (["completed"] if path == "videos" else []) + ["stream_error"]
    assert events[-1].cost.source == "unknown"


@pytest.mark.parametrize("path", ["images", "audio/speech", "embeddings"])
@pytest.mark.parametrize(("model", "error"), [("cut-off", "RemoteProtocolError"), ("stalled", "ReadTimeout")])
def test_a_reply_that_does_not_end(
    model: str, error: str, path: str, library: ModuleType, client: Any, events: list[CallEvent]
) -> None:
    """The caller gets the library's exception; the cost is unknown."""
    client.timeout = 0.5
    with pytest.raises(getattr(library, error)):
        ask(client, path, model=f"simulator/{model}")

    (event,) = events
    assert (event.outcome, event.error.type) == ("failed", error)
    assert event.cost.source == "unknown"
