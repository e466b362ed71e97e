"""The four doors, alone and one behind the other: one event for each HTTP attempt."""

from __future__ import annotations

import gc
import itertools
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from types import ModuleType
from typing import Any

import httpx
import pytest
import respx
from conftest import Logs
from pytest_httpx import HTTPXMock
from replies import URL, message

from openrouter_tap import (
    CallEvent,
    TapOptions,
    TappedTransport,
    async_event_hooks,
    event_hooks,
    instrument,
    tap_client,
    uninstrument,
)
from openrouter_tap._compat import CLIENTS
from openrouter_tap.simulator import running
from served import CHAT, App, Retry, done, free_port

pytestmark = pytest.mark.anyio

BODY = {"model": "maker/model", "messages": []}
DOORS = ("transport", "tap_client", "hooks", "instrument")
ONE_OR_ALL = [*((door,) for door in DOORS), DOORS, ("hooks", "hooks")]
PAIRS = [
    pytest.param(pair, marks=pytest.mark.soak)
    for pair in itertools.combinations_with_replacement(DOORS, 2)
    if pair not in ONE_OR_ALL
]
KINDS = ("Client", "AsyncClient")
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # 30 ms a client less
keys = map(str, itertools.count())


@pytest.fixture(scope="module")
def app() -> App:
    return App()


@pytest.fixture(scope="module")
def origin(app: App) -> Iterator[str]:
    with running(app) as origin:
        yield origin


@pytest.fixture
def anyio_backend() -> str:
    """test_http2_trio.py has both."""
    return "asyncio"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def not_instrumented(logs: Logs) -> Iterator[None]:
    originals = [client._transport_for_url for client in CLIENTS]
    yield
    uninstrument()
    assert [client._transport_for_url for client in CLIENTS] == originals


@pytest.fixture
def options(events: list[CallEvent]) -> TapOptions:
    return TapOptions(hosts=("127.0.0.1",), on_event=events.append)


@asynccontextmanager
async def through(doors: tuple[str, ...], kind: Any, options: TapOptions, **given: Any) -> AsyncIterator[Any]:
    """A client of a library's *kind* with all *doors* open, the inner ones first."""
    hooks: dict[str, list[Any]] = {"request": [], "response": []}
    for door in doors:
        if door == "transport":
            given["transport"] = TappedTransport(given.get("transport"), options=options)
        elif door == "instrument":
            instrument(options=options)
        elif door == "hooks":
            made = (async_event_hooks if "Async" in kind.__name__ else event_hooks)(options=options)
            hooks = {name: hooks[name] + made[name] for name in hooks}
    client = kind(**given, event_hooks=hooks, verify=NO_TLS)
    for _ in range(doors.count("tap_client")):
        assert tap_client(client, options=options) is client
    try:
        yield client
    finally:
        await done(client.aclose() if hasattr(client, "aclose") else client.close())
        uninstrument()


def default(library: ModuleType, kind: str) -> Any:
    return getattr(library, "HTTPTransport" if kind == "Client" else "AsyncHTTPTransport")(verify=NO_TLS)


@pytest.mark.parametrize("doors", [*ONE_OR_ALL, *PAIRS], ids="+".join)
async def test_one_event_for_each_attempt(
    doors: tuple[str, ...], kind: str, library: ModuleType, origin: str, events: list[CallEvent], options: TapOptions
) -> None:
    """By any door and by any two: JSON, a stream, an error, a reply that is left, a refused connection."""
    async with through(doors, getattr(library, kind), options) as client:
        await done(client.post(origin + CHAT, json=BODY))
        await done(client.post(origin + CHAT, json={**BODY, "stream": True}))
        await done(client.post(origin + CHAT, json=BODY, headers={"x-key": next(keys), "x-fail": "1"}))
        left = await done(client.send(client.build_request("POST", origin + CHAT, json=BODY), stream=True))
        await done(left.aclose() if kind == "AsyncClient" else left.close())
        with pytest.raises(library.ConnectError):
            await done(client.post(f"http://127.0.0.1:{free_port()}{CHAT}", json=BODY))
        assert left.elapsed.total_seconds() > 0

    refused = [] if set(doors) == {"hooks"} else ["failed"]  # the libraries tell hooks nothing of it
    found = [event.outcome for event in events]
    assert found == ["completed", "completed", "http_error", found[3], *refused]
    assert [event.cost.total for event in events[:2]] == [0.0123, 0.0123]
    if doors == DOORS:
        gc.collect()
    assert len(events) == len(found)


@pytest.mark.parametrize("doors", [*ONE_OR_ALL, *PAIRS], ids="+".join)
async def test_a_reply_that_is_read_already(
    doors: tuple[str, ...], kind: str, library: ModuleType, events: list[CallEvent], options: TapOptions
) -> None:
    """As a mock gives it; the same object for each request, and raised errors too."""
    reply = library.Response(200, json=message())
    replies = iter([reply, reply, library.ReadTimeout("late")])

    def answer(_: object) -> Any:
        result = next(replies)
        if isinstance(result, Exception):
            raise result
        return result

    async with through(doors, getattr(library, kind), options, transport=library.MockTransport(answer)) as client:
        for _ in range(2):
            assert (await done(client.post(URL, json=BODY))).json() == message()
        with pytest.raises(library.ReadTimeout):
            await done(client.post(URL, json=BODY))

    failed = [] if set(doors) == {"hooks"} else ["failed"]
    assert [event.outcome for event in events] == ["completed", "completed", *failed]


@pytest.mark.parametrize(("place", "count"), [("inside", 3), ("outside", 1), ("both", 3)])
@pytest.mark.parametrize("ending", ["answered", "busy", "refused"])
async def test_with_a_transport_that_retries(
    place: str,
    count: int,
    ending: str,
    kind: str,
    library: ModuleType,
    origin: str,
    events: list[CallEvent],
    options: TapOptions,
) -> None:
    """Inside it one event for each attempt, outside of it one for the call, and with both one for each attempt."""
    inner = default(library, kind)
    transport: Any = Retry(inner if place == "outside" else TappedTransport(inner, options=options))
    transport = transport if place == "inside" else TappedTransport(transport, options=options)
    address = f"http://127.0.0.1:{free_port()}" if ending == "refused" else origin
    headers = {"x-key": next(keys), "x-fail": "2" if ending == "answered" else "9"}
    async with through((), getattr(library, kind), options, transport=transport) as client:
        with suppress(library.ConnectError):
            await done(client.post(address + CHAT, json=BODY, headers=headers))

    last = {"answered": "completed", "busy": "http_error", "refused": "failed"}[ending]
    between = "failed" if ending == "refused" else "http_error"
    assert [event.outcome for event in events] == [*[between] * (count - 1), last]


@pytest.mark.parametrize("refused", [False, True])
async def test_a_retrying_transport_that_raises_its_own(
    refused: bool, kind: str, library: ModuleType, origin: str, events: list[CallEvent], options: TapOptions
) -> None:
    """Behind the attempts, with no cause and no context: still an event for each attempt and no other."""
    inner = TappedTransport(default(library, kind), options=options)
    transport = TappedTransport(Retry(inner, lambda: library.NetworkError("gave up")), options=options)
    address = f"http://127.0.0.1:{free_port()}" if refused else origin
    async with through((), getattr(library, kind), options, transport=transport) as client:
        with pytest.raises(library.NetworkError, match="gave up"):
            await done(client.post(address + CHAT, json=BODY, headers={"x-key": next(keys), "x-fail": "9"}))

    assert [event.outcome for event in events] == ["failed" if refused else "http_error"] * 3


@pytest.mark.parametrize("door", DOORS)
async def test_redirects_and_auth_flows(
    door: str, kind: str, library: ModuleType, origin: str, events: list[CallEvent], options: TapOptions
) -> None:
    """Each request that goes out is an attempt; what is no inference leaves no event."""
    async with through((door,), getattr(library, kind), options, follow_redirects=True) as client:
        moved = await done(client.post(f"{origin}/moved", json=BODY))
        auth = library.DigestAuth("user", "password")
        guarded = await done(client.post(f"{origin}/api/v1/guarded/chat/completions", json=BODY, auth=auth))

    assert [len(moved.history), len(guarded.history)] == [1, 1]
    assert [(event.http_status, event.outcome) for event in events] == [
        (200, "completed"),
        (401, "http_error"),
        (200, "completed"),
    ]


@pytest.mark.parametrize("door", DOORS)
async def test_a_client_that_threads_share(
    door: str, library: ModuleType, origin: str, events: list[CallEvent], options: TapOptions
) -> None:
    """As many events as calls, each with the facts of one."""
    async with through((door,), library.Client, options) as client:

        def call(number: int) -> None:
            for turn in range(5):
                client.post(origin + CHAT, json={**BODY, "model": f"m-{number}-{turn}", "stream": bool(turn % 2)})

        threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

    asked = sorted(event.request_model for event in events)
    assert asked == sorted(f"m-{number}-{turn}" for number in range(8) for turn in range(5))
    assert {(event.outcome, event.cost.total) for event in events} == {("completed", 0.0123)}


@pytest.mark.parametrize("door", DOORS)
async def test_switched_off(
    door: str,
    kind: str,
    library: ModuleType,
    origin: str,
    events: list[CallEvent],
    options: TapOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With OPENROUTER_TAP=off each door lets everything through."""
    monkeypatch.setenv("OPENROUTER_TAP", "off")
    async with through((door,), getattr(library, kind), options) as client:
        assert (await done(client.post(origin + CHAT, json=BODY))).json() == message()

    assert events == []


@pytest.mark.parametrize("door", DOORS)
async def test_with_respx(door: str, kind: str, events: list[CallEvent], options: TapOptions) -> None:
    """Which stands in for httpcore, below every door."""
    with respx.mock:
        respx.post(URL).respond(json=message())
        async with through((door,), getattr(httpx, kind), options) as client:
            await done(client.post(URL, json=BODY))

    assert [event.cost.total for event in events] == [0.0123]


@pytest.mark.parametrize("door", DOORS)
async def test_with_pytest_httpx(
    door: str, kind: str, httpx_mock: HTTPXMock, events: list[CallEvent], options: TapOptions
) -> None:
    """Which stands in for the library's own transports, below every door."""
    httpx_mock.add_response(json=message())
    httpx_mock.add_exception(httpx.ReadTimeout("late"))
    async with through((door,), getattr(httpx, kind), options) as client:
        await done(client.post(URL, json=BODY))
        with pytest.raises(httpx.ReadTimeout):
            await done(client.post(URL, json=BODY))

    assert [event.outcome for event in events] == ["completed", *([] if door == "hooks" else ["failed"])]


async def test_hooks_read_nothing(
    kind: str, library: ModuleType, origin: str, events: list[CallEvent], options: TapOptions
) -> None:
    """The stream is the caller's, to its first byte; `elapsed` is there when it is closed."""
    async with through(("hooks",), getattr(library, kind), options) as client:
        request = client.build_request("POST", origin + CHAT, json={**BODY, "stream": True})
        reply = await done(client.send(request, stream=True))
        assert (reply.is_stream_consumed, reply.num_bytes_downloaded, events) == (False, 0, [])
        with pytest.raises(RuntimeError, match="elapsed"):
            _ = reply.elapsed
        assert b"[DONE]" in await done(reply.aread() if kind == "AsyncClient" else reply.read())
        assert reply.elapsed.total_seconds() > 0

    assert [(event.outcome, event.bytes_in) for event in events] == [("completed", len(reply.content))]


def test_instrument_reaches_every_client(
    library: ModuleType, origin: str, events: list[CallEvent], options: TapOptions
) -> None:
    """Those that exist, those that are made later, subclasses, and the functions of the module; then none."""

    class Own(library.Client):
        def _transport_for_url(self, url: Any) -> Any:
            return super()._transport_for_url(url)

    def call_all() -> None:
        with early() as one, library.Client() as other, Own() as own:
            for client in (one, other, own):
                client.post(origin + CHAT, json=BODY)
        library.post(origin + CHAT, json=BODY)
        library.get(origin + CHAT)
        with library.stream("POST", origin + CHAT, json=BODY) as reply:
            reply.read()

    early = [library.Client() for _ in range(2)].pop
    originals = [vars(client)["_transport_for_url"] for client in CLIENTS]
    for _ in range(2):
        instrument(options=options)
    call_all()
    assert len(events) == 5  # a GET is no inference
    uninstrument()
    assert [vars(client)["_transport_for_url"] for client in CLIENTS] == originals
    uninstrument()
    call_all()

    assert len(events) == 5


def test_uninstrument_leaves_what_others_have_put_on_top(
    library: ModuleType, origin: str, events: list[CallEvent], options: TapOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A patch that was made later stays, with a tap below it that does nothing any more."""
    seen = []
    instrument(options=options)
    ours = library.Client._transport_for_url

    def later(self: Any, url: Any) -> Any:
        seen.append(url)
        return ours(self, url)

    with monkeypatch.context() as patch:
        patch.setattr(library.Client, "_transport_for_url", later)
        uninstrument()
        library.post(origin + CHAT, json=BODY)
    uninstrument()

    assert [len(seen), len(events)] == [1, 0]


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_that_is_passed_by_is_noticed_once(
    variable: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By a transport that makes its own; other doors keep proxies, and a transport that is given knows its own."""
    monkeypatch.setattr("openrouter_tap._bridge.notice._seen", set())
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    with httpx.Client() as client:
        tap_client(client)
    TappedTransport(httpx.MockTransport(lambda _: httpx.Response(200)))
    event_hooks()
    instrument()
    assert caplog.records == []
    for _ in range(3):
        TappedTransport()

    (record,) = caplog.records
    assert (record.name, record.levelname) == ("openrouter_tap", "WARNING")
    assert variable in record.getMessage()
    assert "tap_client(" in record.getMessage()
