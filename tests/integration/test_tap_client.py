"""`tap_client`: what a client was made with stays in force."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import pytest
from conftest import Logs

from openrouter_tap import CallEvent, TapOptions, TappedTransport, tap_client
from openrouter_tap.simulator import running
from served import AUTHORITY, CHAT, App, Proxy, done, free_port, hypercorn, proxying

pytestmark = pytest.mark.anyio

BODY = {"model": "maker/model", "messages": []}


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with running(App()) as origin:
        yield origin


@pytest.fixture(scope="module")
def secure() -> Iterator[str]:
    with hypercorn(App(), tls=True) as origin:
        yield origin


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with proxying() as proxy:
        yield proxy


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def options(events: list[CallEvent], logs: Logs) -> TapOptions:
    return TapOptions(hosts=("127.0.0.1",), on_event=events.append)


@pytest.fixture(params=["Client", "AsyncClient"])
def kind(request: pytest.FixtureRequest, library: ModuleType) -> Any:
    return getattr(library, request.param)


@asynccontextmanager
async def closing(client: Any) -> AsyncIterator[Any]:
    try:
        yield client
    finally:
        await done(client.aclose() if hasattr(client, "aclose") else client.close())


async def post(client: Any, url: str) -> Any:
    return await done(client.post(url, json=BODY))


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


async def test_proxies_of_the_environment(
    kind: Any,
    proxy: Proxy,
    origin: str,
    secure: str,
    events: list[CallEvent],
    options: TapOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Forwarding and tunnelling, and what NO_PROXY takes out."""
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "localhost")
    async with closing(tap_client(kind(verify=trusting()), options=options)) as client:
        await post(client, origin + CHAT)
        await post(client, secure + CHAT)
        await post(client, origin.replace("127.0.0.1", "localhost") + CHAT)

    assert proxy.seen == [f"POST {origin}{CHAT}", f"CONNECT {secure.removeprefix('https://')}"]
    assert [(event.http_status, event.cost.total) for event in events] == [(200, 0.0123)] * 2


async def test_a_proxy_that_refuses(
    kind: Any, library: ModuleType, events: list[CallEvent], options: TapOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure comes from it, and is an event."""
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{free_port()}")
    async with closing(tap_client(kind(), options=options)) as client:
        with pytest.raises(library.ConnectError):
            await post(client, "https://openrouter.ai/api/v1/chat/completions")

    assert [(event.outcome, event.host) for event in events] == [("failed", "openrouter.ai")]


async def test_a_proxy_that_is_given(
    kind: Any, proxy: Proxy, origin: str, events: list[CallEvent], options: TapOptions
) -> None:
    """As ``proxy=``."""
    async with closing(tap_client(kind(proxy=proxy.url), options=options)) as client:
        await post(client, origin + CHAT)

    assert [len(proxy.seen), len(events)] == [1, 1]


async def test_mounts(
    kind: Any, library: ModuleType, proxy: Proxy, origin: str, events: list[CallEvent], options: TapOptions
) -> None:
    """A mount keeps its transport, and None stays the client's own, which ``proxy=`` would not be."""
    mounted = library.MockTransport(lambda _: library.Response(418, json={"error": {"code": 418}}))
    mounts = {"http://127.0.0.1": None, "https://openrouter.ai": mounted}
    async with closing(tap_client(kind(proxy=proxy.url, mounts=mounts), options=options)) as client:
        assert (await post(client, origin + CHAT)).status_code == 200
        assert (await post(client, "https://openrouter.ai/api/v1/chat/completions")).status_code == 418
        kept = {pattern.pattern: mount for pattern, mount in client._mounts.items()}

    assert proxy.seen == []
    assert kept["http://127.0.0.1"] is None
    assert kept["https://openrouter.ai"]._given is mounted
    assert [event.http_status for event in events] == [200, 418]


async def test_verify(
    kind: Any, library: ModuleType, secure: str, events: list[CallEvent], options: TapOptions
) -> None:
    """An authority that the client trusts, and one that it does not."""
    async with closing(tap_client(kind(verify=trusting()), options=options)) as client:
        assert (await post(client, secure + CHAT)).status_code == 200
    async with closing(tap_client(kind(), options=options)) as client:
        with pytest.raises(library.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await post(client, secure + CHAT)

    assert [(event.outcome, event.cost.total) for event in events] == [("completed", 0.0123), ("failed", None)]


@pytest.mark.parametrize(("http2", "version"), [(True, "HTTP/2"), (False, "HTTP/1.1")])
async def test_http2(
    http2: bool, version: str, kind: Any, secure: str, events: list[CallEvent], options: TapOptions
) -> None:
    """As it is negotiated over TLS."""
    async with closing(tap_client(kind(http2=http2, verify=trusting()), options=options)) as client:
        assert (await post(client, secure + CHAT)).http_version == version

    assert len(events) == 1


async def test_limits(
    kind: Any, library: ModuleType, origin: str, events: list[CallEvent], options: TapOptions
) -> None:
    """One connection, which another reply holds: the pool's timeout is the caller's and the event's."""
    limits, timeout = library.Limits(max_connections=1), library.Timeout(5, pool=0.05)
    async with closing(tap_client(kind(limits=limits, timeout=timeout), options=options)) as client:
        held = await done(client.send(client.build_request("POST", origin + CHAT, json=BODY), stream=True))
        with pytest.raises(library.PoolTimeout):
            await post(client, origin + CHAT)
        await done(held.aclose() if hasattr(client, "aclose") else held.close())

    assert [event.error and event.error.type for event in events] == ["PoolTimeout", None]


async def test_idempotent(kind: Any, library: ModuleType, events: list[CallEvent], options: TapOptions) -> None:
    """The same client, with the same transports in it, however often."""
    own = TappedTransport(library.MockTransport(lambda _: library.Response(200)))
    async with closing(kind(mounts={"all://x": own})) as client:
        assert tap_client(client, options=options) is client
        transports = [client._transport, *client._mounts.values()]
        assert tap_client(client) is client
        assert [client._transport, *client._mounts.values()] == transports
        assert own in transports


@pytest.mark.parametrize("what", [None, "https://openrouter.ai", object(), TappedTransport, int], ids=range(5))
def test_what_is_no_client_is_refused(what: Any) -> None:
    """By its name, with the way out."""
    told = f"tap_client: {type(what).__qualname__} is no httpx or httpx2 client; give it"
    with pytest.raises(TypeError, match=re.escape(told)):
        tap_client(what)


def test_classes_and_sdks_are_no_clients(library: ModuleType) -> None:
    """The class is not the client, nor is what has one inside; the libraries' internals may be others some day."""

    class Sdk:
        _client = library.Client

    class Later(library.Client):
        def __init__(self) -> None:
            self._state = "closed"

        def __del__(self) -> None: ...

    for what in (library.Client, Sdk()):
        with pytest.raises(TypeError, match="is no httpx or httpx2 client"):
            tap_client(what)
    with pytest.raises(TypeError, match=r"this version of .* is not known"):
        tap_client(Later())
