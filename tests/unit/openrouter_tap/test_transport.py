from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import respx
from conftest import Logs
from replies import ID, URL, dumps, message, stream

import cipherlog_core
from openrouter_tap import CallEvent, TapOptions, TappedTransport, tag

BODY = {"model": "maker/model", "messages": []}


@pytest.fixture(autouse=True)
def fresh_notices(monkeypatch: pytest.MonkeyPatch, logs: Logs) -> None:
    monkeypatch.setattr("openrouter_tap._bridge.notice._seen", set())


@pytest.fixture
def client(library: ModuleType, events: list[CallEvent]) -> Iterator[Callable[..., Any]]:
    """Makes a client whose tapped transport answers with a function, and gives its events to `events`."""
    clients = []

    def make(answer: Callable[[Any], Any], **options: Any) -> Any:
        transport = TappedTransport(
            library.MockTransport(answer), options=TapOptions(on_event=events.append, **options)
        )
        clients.append(library.Client(transport=transport))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def test_nothing_else_is_needed(logs: Logs) -> None:
    """The line from the README, with the network mocked below the transport: one JSON line with all that is known."""
    with respx.mock:
        route = respx.post(URL).respond(json=message(), headers={"X-Generation-Id": ID, "CF-RAY": "8f-FRA"})
        with httpx.Client(transport=TappedTransport()) as client:
            reply = client.post(URL, json=BODY)

    assert reply.json() == message()
    assert route.called
    (record,) = logs.read()
    fields = record.pop("fields")
    times = [fields.pop("latency_ms"), fields.pop("headers_ms")]
    assert times[0] >= times[1] > 0
    assert {key: record[key] for key in ("level", "logger", "event", "tool", "session_id", "request_id")} == {
        "level": "INFO",
        "logger": "openrouter_tap",
        "event": "openrouter_cost",
        "tool": None,
        "session_id": None,
        "request_id": ID,
    }
    assert fields == {
        "provider": "openrouter",
        "tier_id": None,
        "model": "maker/model-1-20260101",
        "request_model": "maker/model",
        "upstream_provider": "Maker",
        "generation_id": ID,
        "call_id": None,
        "attempt": 1,
        "host": "openrouter.ai",
        "endpoint": "chat.completions",
        "streamed": False,
        "http_status": 200,
        "outcome": "completed",
        "error": None,
        "ttft_ms": None,
        "tokens": {
            "prompt": 1200,
            "completion": 300,
            "total": 1500,
            "cached": 100,
            "cache_write": 7,
            "reasoning": 50,
            "audio": 7,
            "image": 2,
        },
        "cost": {
            "input": 0.01,
            "output": 0.0023,
            "other": None,
            "total": 0.0123,
            "upstream": 0.0123,
            "is_byok": False,
            "source": "provider",
            "currency": "USD",
        },
        "finish_reason": "stop",
        "service_tier": None,
        "bytes_in": len(reply.content),
        "trace_id": None,
        "span_id": None,
        "tags": {},
    }


def test_a_stream(client: Callable[..., Any], library: ModuleType, events: list[CallEvent]) -> None:
    """The stream passes unchanged, and its last event gives tokens and cost."""
    chunks = stream()

    class Body(library.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield from chunks

    headers = {"content-type": "text/event-stream; charset=utf-8"}
    reply = client(lambda _: library.Response(200, headers=headers, stream=Body())).post(URL, json=BODY)

    assert reply.content == b"".join(chunks)
    (event,) = events
    assert (event.streamed, event.outcome, event.cost.total, event.finish_reason) == (True, "completed", 0.0123, "stop")
    assert 0 < event.headers_ms <= event.ttft_ms <= event.latency_ms
    assert event.bytes_in == len(reply.content)


@pytest.mark.parametrize(
    ("label", "chunks", "streamed"),
    [
        ("Text/Event-Stream", stream(), True),
        ("application/json", stream(), True),
        ("text/event-stream", [dumps(message())], False),
    ],
    ids=["odd case", "a stream called JSON", "JSON called a stream"],
)
def test_a_reply_under_another_name(
    label: str,
    chunks: list[bytes],
    streamed: bool,
    client: Callable[..., Any],
    library: ModuleType,
    events: list[CallEvent],
) -> None:
    """What comes is read for what it is."""

    class Body(library.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield from chunks

    client(lambda _: library.Response(200, headers={"content-type": label}, stream=Body())).post(URL, json=BODY)

    (event,) = events
    assert (event.outcome, event.cost.total, event.generation_id, event.streamed) == ("completed", 0.0123, ID, streamed)


FORK = """
import importlib, os, sys, cipherlog_core
from openrouter_tap import TappedTransport
from replies import URL, stream
library = importlib.import_module(sys.argv[1])

class Body(library.SyncByteStream):
    def __iter__(self):
        yield from stream()

reply = library.Response(200, headers={"content-type": "text/event-stream"}, stream=Body())
tapped = library.Client(transport=TappedTransport(library.MockTransport(lambda _: reply)))
with tapped, tapped.stream("POST", URL, json={}) as reply:
    chunks = reply.iter_raw()
    next(chunks)
    pid = os.fork()
    if not pid:
        try:
            reply.close()
            cipherlog_core.flush()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert b"".join(chunks)
"""


def test_a_fork_in_mid_stream(library: ModuleType, logs: Logs) -> None:
    """The call is the parent's: a child that unwinds leaves no event of it."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", FORK, library.__name__], env=environment, check=True, timeout=60)

    assert [record["fields"]["outcome"] for record in logs.read()] == ["completed"]


@pytest.mark.parametrize(
    ("method", "url"),
    [("POST", "https://example.org/api/v1/chat/completions"), ("GET", "https://openrouter.ai/api/v1/models")],
)
def test_what_is_no_call_to_openrouter_passes(
    method: str, url: str, client: Callable[..., Any], library: ModuleType, events: list[CallEvent]
) -> None:
    """Other hosts, and requests that are no inference, leave no event."""
    assert client(lambda _: library.Response(200, json=message())).request(method, url).json() == message()
    assert events == []


@pytest.mark.parametrize("tail", ["keys", "generation"])
def test_other_posts_leave_an_event_only_when_they_cost(
    tail: str, client: Callable[..., Any], library: ModuleType, events: list[CallEvent]
) -> None:
    """An administrative call has neither usage nor a generation id; an endpoint that is new has."""
    replies = iter([library.Response(200, json={"data": []}), library.Response(200, json=message())])
    tapped = client(lambda _: next(replies))
    for _ in range(2):
        tapped.post(f"https://openrouter.ai/api/v1/{tail}", json={})

    assert [(event.endpoint, event.cost.total) for event in events] == [("other", 0.0123)]


def test_tags_are_those_of_the_moment_when_the_call_began(
    client: Callable[..., Any], library: ModuleType, logs: Logs
) -> None:
    """They fill the record's own keys, come before `bind`, and blocks add to each other."""
    tapped = client(lambda _: library.Response(200, json=message()))
    with cipherlog_core.bind(session_id="bound", request_id="r-1"), tag(session_id="s", tool="t", env="dev"):
        with tag(tier_id="fast", part=7):
            tapped.post(URL, json=BODY)
        tapped.post(URL, json=BODY)
    tapped.post(URL, json=BODY)

    found = [
        (r["session_id"], r["tool"], r["request_id"], r["fields"]["tier_id"], r["fields"]["tags"]) for r in logs.read()
    ]
    assert found == [
        ("s", "t", "r-1", "fast", {"env": "dev", "part": "7"}),
        ("s", "t", "r-1", None, {"env": "dev"}),
        (None, None, ID, None, {}),
    ]


def test_more_tags_than_are_recorded_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Sixteen, of 256 characters, their names too: the rest is named in a notice."""
    with tag(**{"n" * 300: "x"}, **{f"t{number}": "x" * 300 for number in range(1, 18)}) as scope:
        tags = scope._value.pinned["tags"]

    assert [len(tags), len(tags["t1"]), len(next(iter(tags)))] == [16, 256, 256]
    assert "t16, t17" in caplog.text


@pytest.mark.parametrize(
    ("headers", "request_id"),
    [
        ({"request-id": "req-1", "X-Request-Id": "x-1", "X-Generation-Id": ID}, "req-1"),
        ({"X-Request-Id": "x-1", "CF-RAY": "ray"}, "x-1"),
        ({"X-Generation-Id": "gen-header"}, "gen-header"),
        ({"CF-RAY": "ray"}, "ray"),
        ({}, None),
    ],
)
def test_the_request_id(
    headers: dict[str, str], request_id: str | None, client: Callable[..., Any], library: ModuleType, logs: Logs
) -> None:
    """The reply's, else the generation's, else Cloudflare's."""
    client(lambda _: library.Response(200, json={"usage": {}}, headers=headers)).post(URL, json=BODY)

    (record,) = logs.read()
    assert record["request_id"] == request_id


@pytest.mark.parametrize(("count", "attempt"), [(None, 1), ("0", 1), ("2", 3), ("many", 1), ("9" * 5000, 1)])
def test_the_attempt(
    count: str | None, attempt: int, client: Callable[..., Any], library: ModuleType, events: list[CallEvent]
) -> None:
    """As the SDK counts its retries, in a header of its own."""
    headers = {} if count is None else {"x-stainless-retry-count": count}
    client(lambda _: library.Response(200, json=message())).post(URL, json=BODY, headers=headers)

    assert events[0].attempt == attempt


def test_the_current_span(
    client: Callable[..., Any], library: ModuleType, events: list[CallEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids of the OpenTelemetry span, where the program has imported OpenTelemetry; without one they are null."""
    module = ModuleType("opentelemetry.trace")
    context = type("Context", (), {"is_valid": True, "trace_id": 0xABC, "span_id": 0xDEF})
    module.get_current_span = lambda: type("Span", (), {"get_span_context": staticmethod(lambda: context)})
    tapped = client(lambda _: library.Response(200, json=message()))
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.trace", module)
    tapped.post(URL, json=BODY)
    context.is_valid = False
    tapped.post(URL, json=BODY)
    module.get_current_span = None
    tapped.post(URL, json=BODY)

    assert [(event.trace_id, event.span_id) for event in events] == [
        ("00000000000000000000000000000abc", "0000000000000def"),
        (None, None),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("status", "body", "outcome", "error"),
    [
        (429, {"error": {"code": 429, "message": "slow down"}}, "http_error", ("429", "429")),
        (401, {"error": {"message": "no key", "code": 401}}, "http_error", ("401", "401")),
        (502, b"<html>bad gateway</html>", "http_error", ("502", None)),
        (200, {"error": {"code": 402, "message": "no credits"}}, "stream_error", ("402", "402")),
        (
            200,
            {**message(), "choices": [{"error": {"code": "x"}, "finish_reason": "error"}]},
            "stream_error",
            ("200", "x"),
        ),
        (200, b"<html>sign in</html>", "failed", ("200", None)),
        (200, b'{"id":"gen-1","usage":{"cost":', "failed", ("200", None)),
        (200, b"", "failed", ("200", None)),
        (200, b"\xef\xbb\xbf" + dumps(message()), "completed", None),
        (204, b"", "completed", None),
        (307, b"<html>moved</html>", "completed", None),
    ],
)
def test_outcomes_of_replies(
    status: int,
    body: object,
    outcome: str,
    error: tuple[str, str | None] | None,
    client: Callable[..., Any],
    library: ModuleType,
    events: list[CallEvent],
) -> None:
    """An HTTP error, an error inside a reply, a broken reply: one event each, with nulls for what is not known."""
    content = body if isinstance(body, bytes) else dumps(body)
    headers = {"content-type": "application/json"}
    reply = client(lambda _: library.Response(status, headers=headers, content=content)).post(URL, json=BODY)

    assert (reply.status_code, reply.content) == (status, content)
    (event,) = events
    found = event.error and (event.error.type, event.error.code)
    assert (event.outcome, found, event.http_status, event.request_model) == (outcome, error, status, "maker/model")


def test_a_broken_reply_is_told_once(
    client: Callable[..., Any], library: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    """On the package's own logger, at WARNING; the body is not quoted."""
    tapped = client(lambda _: library.Response(200, content=b"my secret answer"))
    tapped.post(URL, json=BODY)
    tapped.post(URL, json=BODY)

    (record,) = [record for record in caplog.records if record.name == "openrouter_tap"]
    assert record.levelno == logging.WARNING
    assert "secret" not in record.getMessage()


@pytest.mark.parametrize(
    "name", ["ConnectError", "ConnectTimeout", "ReadTimeout", "PoolTimeout", "RemoteProtocolError"]
)
def test_calls_without_a_reply(
    name: str, client: Callable[..., Any], library: ModuleType, events: list[CallEvent]
) -> None:
    """The caller gets the exception that was raised, and the event its name."""
    error = getattr(library, name)("no")

    def answer(_: object) -> object:
        raise error

    with pytest.raises(library.TransportError) as caught:
        client(answer).post(URL, json=BODY)

    assert caught.value is error
    (event,) = events
    assert (event.outcome, event.error.type, event.http_status, event.headers_ms) == ("failed", name, None, None)


def test_an_inner_transport_that_is_empty(library: ModuleType, events: list[CallEvent]) -> None:
    """It is used all the same: a mock that has a length sends nothing over the network in its first call."""

    class Counting(library.MockTransport):
        calls = 0

        def __len__(self) -> int:
            return self.calls

    options = TapOptions(on_event=events.append)
    with library.Client(
        transport=TappedTransport(Counting(lambda _: library.Response(200)), options=options)
    ) as tapped:
        assert tapped.post("http://127.0.0.1:9/", json=BODY).status_code == 200


def test_a_reply_that_nobody_closes(library: ModuleType, client: Callable[..., Any], events: list[CallEvent]) -> None:
    """It is recorded when it is collected, and only then."""

    class Body(library.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield from stream()

    headers = {"content-type": "text/event-stream"}
    tapped = client(lambda _: library.Response(200, headers=headers, stream=Body()))
    reply = tapped.send(tapped.build_request("POST", URL, json=BODY), stream=True)
    assert events == []
    del reply
    gc.collect()

    assert [event.outcome for event in events] == ["abandoned"]
    assert events[0].latency_ms == events[0].headers_ms  # not until somebody collects it


def test_a_fault_of_the_tap_reaches_no_call(
    client: Callable[..., Any],
    library: ModuleType,
    events: list[CallEvent],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever breaks in here, the caller gets the reply; the fault is told once."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("inside")

    tapped = client(lambda _: library.Response(200, json=message()))
    before = cipherlog_core.stats().dropped
    for name in ("_json_stream.decode_reply", "_observation.read_request", "_observe.reply_headers"):
        with monkeypatch.context() as patch:
            patch.setattr(f"openrouter_tap.{name}", broken)
            assert tapped.post(URL, json=BODY).json() == message()

    assert [record.name for record in caplog.records].count("openrouter_tap") == 3
    assert [event.outcome for event in events] == ["completed"]  # one with nulls, where only the reply was not read
    assert cipherlog_core.stats().dropped == before + 2
    assert "The call" in caplog.text


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError, SystemExit, GeneratorExit])
def test_an_on_event_that_raises_is_told(
    error: type[BaseException], library: ModuleType, logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    """The line is written and the call goes on."""

    def on_event(_: CallEvent) -> None:
        raise error

    options = TapOptions(on_event=on_event)
    transport = TappedTransport(library.MockTransport(lambda _: library.Response(200, json=message())), options=options)
    with library.Client(transport=transport) as client:
        assert client.post(URL, json=BODY).status_code == 200

    assert len(logs.read()) == 1
    assert error.__name__ in caplog.text


def test_what_is_no_transport_is_refused() -> None:
    """At construction, with the way out."""
    with pytest.raises(TypeError, match="is no transport; wrap"):
        TappedTransport("https://openrouter.ai")


@pytest.mark.parametrize(
    ("hosts", "environment", "url", "tapped"),
    [
        ((), "", "https://eu.openrouter.ai/api/v1/chat/completions", True),
        ((), "", "https://us.openrouter.ai/api/v1/chat/completions", True),
        ((), "", "https://openrouter.ai.example.com/api/v1/chat/completions", False),
        ((), "", "http://127.0.0.1:8000/api/v1/chat/completions", False),
        (("127.0.0.1",), "", "http://127.0.0.1:8000/api/v1/chat/completions", True),
        (("127.0.0.1:8000",), "", "http://127.0.0.1:8000/api/v1/chat/completions", True),
        (("127.0.0.1:8001",), "", "http://127.0.0.1:8000/api/v1/chat/completions", False),
        ((), "proxy.local, Gateway.local:443", "https://gateway.local/v1/chat/completions", True),
        ((), "gateway.local:443", "https://gateway.local:8443/v1/chat/completions", False),
        ("gateway.local", "", "https://gateway.local/v1/chat/completions", True),
        (("https://gateway.local/v1",), "", "https://gateway.local/v1/chat/completions", True),
        (("::1",), "", "http://[::1]:8443/v1/chat/completions", True),
        (("[::1]",), "", "http://[::1]:8443/v1/chat/completions", True),
        (("[::1]:8443",), "", "http://[::1]:8443/v1/chat/completions", True),
        (("[::1]:8444",), "", "http://[::1]:8443/v1/chat/completions", False),
        ((), "", "https://openrouter.ai./api/v1/chat/completions", True),
        (("gateway.local.",), "", "https://gateway.local/v1/chat/completions", True),
        (("gateway.local:8443",), "", "https://gateway.local.:8443/v1/chat/completions", True),
        (("xn--bcher-kva.example",), "", "https://xn--bcher-kva.example/v1/chat/completions", True),
        (("xn--bcher-kva.example:8443",), "", "https://bücher.example:8443/v1/chat/completions", True),
        (("bücher.example",), "", "https://xn--bcher-kva.example/v1/chat/completions", True),
        (("xn--0.example",), "", "https://bücher.example/v1/chat/completions", False),
        ((), "a:" + "9" * 5000, URL, True),
        (("*",), "", "https://anything.example/chat/completions", True),
        (("other",), "", URL, True),
    ],
)
def test_hosts(
    hosts: tuple[str, ...],
    environment: str,
    url: str,
    tapped: bool,
    client: Callable[..., Any],
    library: ModuleType,
    events: list[CallEvent],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OpenRouter's own, and those that options and environment add."""
    monkeypatch.setenv("OPENROUTER_TAP_HOSTS", environment)
    client(lambda _: library.Response(200, json=message()), hosts=hosts).post(url, json=BODY)

    assert bool(events) == tapped


@pytest.mark.parametrize("bad", ["host:abc", "host:99999", "a b", "*.example.com", "*:8080", "http://", "host:1:2"])
@pytest.mark.parametrize("source", ["OPENROUTER_TAP_HOSTS", "TapOptions.hosts"])
def test_what_is_no_host_is_told_once(
    bad: str,
    source: str,
    library: ModuleType,
    events: list[CallEvent],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It would tap nothing in silence; the hosts beside it are tapped."""
    monkeypatch.setattr("openrouter_tap._options.notice._seen", set())
    hosts = (bad, "gateway.local")
    if source == "OPENROUTER_TAP_HOSTS":
        monkeypatch.setenv(source, ",".join(hosts))
    options = TapOptions(hosts=hosts if source == "TapOptions.hosts" else (), on_event=events.append)
    for _ in range(2):
        inner = library.MockTransport(lambda _: library.Response(200, json=message()))
        with library.Client(transport=TappedTransport(inner, options=options)) as client:
            client.post("https://gateway.local/v1/chat/completions", json=BODY)

    (told,) = [record.getMessage() for record in caplog.records if record.name == "openrouter_tap"]
    assert told.startswith(f"{source}: {bad.removeprefix('http://')!r} is no host")
    assert len(events) == 2


def test_hosts_that_are_hosts_are_not_told(caplog: pytest.LogCaptureFixture, library: ModuleType) -> None:
    """Names of services, addresses with and without brackets and ports, names in any script, URLs."""
    hosts = (
        "my_service",
        "10.0.0.1:80",
        "::1",
        "[::1]",
        "[fe80::1%eth0]:1",
        "bücher.example",
        "*",
        "https://u:p@h:1/v1",
    )
    TappedTransport(library.MockTransport(lambda _: library.Response(200)), options=TapOptions(hosts=hosts))

    assert caplog.records == []


@pytest.mark.parametrize(
    ("variable", "text"),
    [*(("OPENROUTER_TAP", text) for text in ("off", "False", "0", " NO ")), ("OTEL_SDK_DISABLED", "True")],
)
def test_switched_off(
    variable: str,
    text: str,
    client: Callable[..., Any],
    library: ModuleType,
    events: list[CallEvent],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tap passes everything through."""
    monkeypatch.setenv(variable, text)
    assert client(lambda _: library.Response(200, json=message())).post(URL, json=BODY).json() == message()

    assert events == []


def test_the_inner_transport_is_entered_and_closed(library: ModuleType) -> None:
    """As the client would do with it, with or without a block."""
    calls = []

    class Inner(library.BaseTransport):
        def __enter__(self) -> object:
            calls.append("enter")
            return self

        def __exit__(self, *_: object) -> None:
            calls.append("exit")

        def close(self) -> None:
            calls.append("close")

        def handle_request(self, request: object) -> object:
            raise AssertionError

    with library.Client(transport=TappedTransport(Inner())):
        pass
    library.Client(transport=TappedTransport(Inner())).close()

    assert calls == ["enter", "exit", "close"]
