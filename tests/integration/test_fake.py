"""The fake OpenRouter and the assertions, through the four clients."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import Logs

import cipherlog_core
from openrouter_tap import CallError, Cost, TappedTransport, log_cost, tag
from openrouter_tap.testing import (
    Events,
    FakeOpenRouter,
    UnexpectedRequestError,
    assert_cost_below,
    assert_no_secrets,
    recorded,
)

pytestmark = pytest.mark.anyio

BASE = "https://openrouter.ai/api/v1/"
ASKED = {"model": "maker/model", "messages": [{"role": "user", "content": "Hello?"}]}
ENDPOINTS = ["chat/completions", "responses", "messages", "completions"]
OTHERS = ["embeddings", "rerank", "images", "audio/transcriptions"]


@pytest.fixture
def anyio_backend() -> str:
    """Enough here: nothing of it is the backend's."""
    return "asyncio"


@pytest.fixture(params=["sync", "async"])
def post(request: pytest.FixtureRequest, library: ModuleType, openrouter: FakeOpenRouter) -> Any:
    """Sends a call to an endpoint, and reads the reply."""
    transport = TappedTransport(library.MockTransport(openrouter))

    async def post(path: str = "chat/completions", **more: Any) -> Any:
        asked = {"url": f"{BASE}{path}", "json": {**ASKED, **more}}
        if request.param == "sync":
            with library.Client(transport=transport) as client:
                return client.post(**asked)
        async with library.AsyncClient(transport=transport) as client:
            return await client.post(**asked)

    return post


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "SSE"])
@pytest.mark.parametrize("path", ENDPOINTS)
async def test_a_reply_has_the_text_and_the_cost_that_it_was_given(
    path: str, stream: bool, post: Any, openrouter: FakeOpenRouter, openrouter_events: Events
) -> None:
    """In the shape of the endpoint, a stream where one is asked for; the event says the same."""
    openrouter.reply("Good day to you.", cost="0.0123", model="maker/served")
    reply = await post(path, stream=stream)

    (event,) = openrouter_events
    assert reply.headers["content-type"] == ("text/event-stream" if stream else "application/json")
    assert (event.cost.total, event.cost.source, event.outcome) == (0.0123, "provider", "completed")
    assert (event.model, event.request_model, event.streamed) == ("maker/served", "maker/model", stream)
    assert event.generation_id == reply.headers["x-generation-id"]
    assert " to" in reply.text
    assert openrouter_events.cost == Decimal("0.0123")
    assert [request.url.path for request in openrouter.requests] == [f"/api/v1/{path}"]


@pytest.mark.parametrize("path", OTHERS)
async def test_other_endpoints_cost_what_they_are_told_to(
    path: str, post: Any, openrouter: FakeOpenRouter, openrouter_events: Events
) -> None:
    """And without a cost it is unknown."""
    openrouter.reply(cost=0.5, path=path)
    openrouter.reply(cost=None)
    await post(path)
    await post(path)

    assert [event.cost.total for event in openrouter_events] == [0.5, None]
    assert {event.endpoint for event in openrouter_events} == {path.replace("/", ".")}


async def test_speech(post: Any, openrouter: FakeOpenRouter, openrouter_events: Events) -> None:
    """Sound, with an id."""
    openrouter.reply()
    reply = await post("audio/speech", input="Hello.")

    assert reply.headers["content-type"] == "audio/mpeg"
    assert openrouter_events[0].cost == Cost()


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "SSE"])
@pytest.mark.parametrize("path", ENDPOINTS)
async def test_errors(
    path: str, stream: bool, post: Any, openrouter: FakeOpenRouter, openrouter_events: Events
) -> None:
    """Before the reply with a status, and inside of one."""
    openrouter.error(429, retry_after="2")
    openrouter.error(200, "provider_unavailable")
    refused = await post(path, stream=stream)
    broken = await post(path, stream=stream)

    assert (refused.status_code, refused.headers["retry-after"], broken.status_code) == (429, "2", 200)
    assert [event.outcome for event in openrouter_events] == ["http_error", "stream_error"]
    told = [event.error and event.error.type for event in openrouter_events]
    assert told == ["rate_limit_exceeded", "provider_unavailable"] or path == "responses"
    assert isinstance(openrouter_events[1].error, CallError)


async def test_aborts(library: ModuleType, post: Any, openrouter: FakeOpenRouter, openrouter_events: Events) -> None:
    """The client's own library raises: instead of a reply, and in the middle of one."""
    openrouter.abort("ConnectError")
    openrouter.abort("ReadTimeout", after=1)
    openrouter.abort("RemoteProtocolError", after=3)
    with pytest.raises(library.ConnectError):
        await post()
    with pytest.raises(library.ReadTimeout):
        await post()
    with pytest.raises(library.RemoteProtocolError):
        await post(stream=True)

    assert [(event.outcome, event.error.type, event.http_status) for event in openrouter_events] == [
        ("failed", "ConnectError", None),
        ("failed", "ReadTimeout", 200),
        ("failed", "RemoteProtocolError", 200),
    ]


async def test_replies_come_in_order_and_wait_for_their_endpoint(post: Any, openrouter: FakeOpenRouter) -> None:
    """The first one that fits, and one that waits for the endpoint before one that is for any."""
    openrouter.reply("first one")
    openrouter.reply(cost="0.5", path="embeddings")
    openrouter.respond(json={"data": []})

    assert (await post("embeddings", input="x")).json()["usage"]["cost"] == 0.5
    assert "first" in (await post()).text
    assert (await post("models")).json() == {"data": []}


async def test_a_request_without_a_reply_is_told_twice(library: ModuleType, post: Any) -> None:
    """At once, and again by `check`, for SDKs hide the first. The message says what came, what is left, what to do."""
    fake = FakeOpenRouter()
    fake.reply(path="embeddings")
    with library.Client(transport=library.MockTransport(fake)) as client:
        with pytest.raises(
            UnexpectedRequestError, match=r"POST https://openrouter.ai/api/v1/rerank reached .* embeddings"
        ):
            client.post(f"{BASE}rerank?key=secret", json=ASKED)
        with pytest.raises(UnexpectedRequestError, match="Give it one before the call") as caught:
            fake.check()
    assert "secret" not in str(caught.value)
    fake.check()


class Slow(str):
    """A path whose comparison lets other threads run."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        time.sleep(0.02)
        return str.__eq__(self, other)


def test_requests_of_several_threads_take_a_reply_each(library: ModuleType, openrouter: FakeOpenRouter) -> None:
    """None is given twice."""
    for number in range(4):
        openrouter.respond(json=number, path=Slow("models"))
    with library.Client(transport=library.MockTransport(openrouter)) as client, ThreadPoolExecutor(4) as threads:
        replies = list(threads.map(lambda _: client.get(f"{BASE}models").json(), range(4)))

    assert sorted(replies) == [0, 1, 2, 3]


def test_a_reply_without_a_request_fails_the_check() -> None:
    """Once, and not where the fake is not strict."""
    fake = FakeOpenRouter()
    fake.reply("Nobody asks.", path="rerank")
    with pytest.raises(AssertionError, match=r"1 replies .* never asked for: a reply of 'Nobody asks.' for rerank"):
        fake.check()
    fake.reply()
    fake.is_strict = False
    fake.check()


BAD: list[tuple[type[Exception], str, Callable[[FakeOpenRouter], object]]] = [
    (TypeError, r"error\('overloaded'\): the status is a number", lambda fake: fake.error("overloaded")),
    (ValueError, r"error\(999\): .* 400 to 599, or 200", lambda fake: fake.error(999)),
    (TypeError, "error: retry_after=2 is no text", lambda fake: fake.error(retry_after=2)),
    (TypeError, r"respond\('200'\): the status is a number", lambda fake: fake.respond("200")),
    (TypeError, "reply: text=None is no text", lambda fake: fake.reply(None)),
    (TypeError, "reply: model=5 is no text", lambda fake: fake.reply("x", model=5)),
    (ValueError, "reply: cost=-1 is no amount of US dollars", lambda fake: fake.reply("x", cost=-1)),
    (ValueError, "reply: cost='abc' is no amount of US dollars, as '0.0012' is", lambda fake: fake.reply(cost="abc")),
    (ValueError, "cost=nan is no amount", lambda fake: fake.reply(cost=float("nan"))),
    (TypeError, r"cost=\{\} is no amount .* a Decimal or a number", lambda fake: fake.reply(cost={})),
    (ValueError, "abort: after=-1 is no number of chunks", lambda fake: fake.abort(after=-1)),
    (TypeError, "abort: text=b'x' is no text", lambda fake: fake.abort(text=b"x", after=1)),
    (ValueError, "assert_cost_below: usd='abc' is no amount", lambda _: assert_cost_below([], "abc")),
    (TypeError, "assert_cost_below: usd=None is no amount", lambda _: assert_cost_below([], None)),
]


@pytest.mark.parametrize(("kind", "told", "give"), BAD)
def test_what_cannot_be_sent_is_refused_at_once(
    kind: type[Exception], told: str, give: Callable[[FakeOpenRouter], object]
) -> None:
    """By what was given, and what to give; the fake then has no reply more."""
    fake = FakeOpenRouter()
    with pytest.raises(kind, match=told):
        give(fake)
    fake.check()


def test_bad_arguments_are_told() -> None:
    """What, and what there is."""
    fake = FakeOpenRouter()
    with pytest.raises(ValueError, match="'chat' is none of chat/completions, responses"):
        fake.reply(path="chat")
    with pytest.raises(ValueError, match="'Broken'"):
        fake.abort("Broken")
    with pytest.raises(ValueError, match="4 characters"):
        assert_no_secrets([], "abc")


def test_events_of_every_kind(logs: Logs) -> None:
    """`log_cost` counts, other records are in `records`, and no file is made."""
    with recorded() as events:
        assert events == []
        log_cost(model="maker/model", cost="0.1")
        log_cost(model="maker/model", cost=0.2)
        cipherlog_core.start("testing").event("other")

    assert (len(events), events.cost, len(events.records)) == (2, Decimal("0.3"), 3)
    assert [event.cost.total for event in events[:2]] == [0.1, 0.2]
    assert not logs.folder.exists()


def test_costs_below() -> None:
    """Added as decimals; a limit that is reached is passed, an unknown cost is not free, and no call is no measure."""
    with recorded() as events:
        with pytest.raises(AssertionError, match=r"no call was recorded, .* OPENROUTER_TAP"):
            assert_cost_below(events, 1, allow_unknown=True)
        log_cost(model="maker/cheap", cost="0.1")
        log_cost(model="maker/dear", cost="0.2")
        assert_cost_below(events, "0.300001")
        with pytest.raises(AssertionError, match=r"2 calls cost 0.3 USD, .* not below 0.3. The dearest: maker/dear"):
            assert_cost_below(events, 0.3)
        log_cost(model="maker/unknown")
        with pytest.raises(AssertionError, match="1 of 3 calls have no known cost: maker/unknown"):
            assert_cost_below(events, 1)
        assert_cost_below(events, 1, allow_unknown=True)


KEYS = [
    "sk-or-v1-0123456789abcdef0123456789abcdef",
    "Authorization: Bearer abcdefghijklmnop",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0abc.sig",
    "-----BEGIN RSA PRIVATE KEY-----",
    "AKIAABCDEFGHIJKLMNOP",
    "ghp_" + "a" * 36,
    "postgres://user:password@host/db",
]


@pytest.mark.parametrize("key", KEYS)
def test_what_looks_like_a_secret_is_found(key: str, tmp_path: Path) -> None:
    """In records, texts and files, compressed ones too; the message never holds it."""
    (tmp_path / "a.jsonl").write_text('{"event": "fine"}\n')
    assert_no_secrets(tmp_path)
    assert_no_secrets([{"fields": {"message": "a risk-free task, 12 basic words"}}, "text", b"bytes"])
    (tmp_path / "a-1.jsonl.gz").write_bytes(gzip.compress(f"fine\n{key}\n".encode()))
    for logged in ([{"fields": {"deep": [key]}}], [key], [key.encode()], key, tmp_path):
        with pytest.raises(AssertionError, match="holds a") as caught:
            assert_no_secrets(logged)
        assert key not in str(caught.value)
    assert "a-1.jsonl.gz, line 2," in str(caught.value)


@pytest.mark.parametrize("secret", ['say "no"\n', 'sag „nö“ \\ "ja"\n'])
async def test_what_a_test_names_is_found(
    secret: str, post: Any, openrouter: FakeOpenRouter, openrouter_events: Events
) -> None:
    """The tap records no prompt; a tag that holds one is found, escaped or not."""
    openrouter.reply()
    openrouter.reply()
    await post()
    assert_no_secrets(openrouter_events, "Hello?", secret)
    with tag(note=f"{secret}please"):
        await post()

    with pytest.raises(AssertionError, match=r"entry \d+ holds secret 2 of 2"):
        assert_no_secrets(openrouter_events, "Hello?", secret)


def test_the_fake_needs_no_tap(library: ModuleType, openrouter: FakeOpenRouter, openrouter_events: Events) -> None:
    """It answers a client that is not tapped as well; then there are no events."""
    openrouter.reply("Hi.")
    with library.Client(transport=library.MockTransport(openrouter)) as client:
        assert client.post(f"{BASE}chat/completions", json=ASKED).json()["choices"][0]["message"]["content"] == "Hi."
    assert openrouter_events == []
    assert isinstance(openrouter.requests[0], library.Request)
