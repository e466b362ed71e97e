"""`http` events: what a server that logs at DEBUG is told of exchanges with tapped hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from conftest import Logs
from replies import URL, message

import cipherlog_core
from openrouter_tap import TappedTransport, event_hooks, tag
from openrouter_tap._http import _ID

SECRET = "s3cr3t-of-the-caller"
BODY = {"model": "maker/model", "messages": [{"role": "user", "content": SECRET}]}
FIELDS = ["phase", "method", "host", "path", "http_status", "latency_ms", "sample_weight"]


@pytest.fixture(autouse=True)
def server(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Starts a server with settings of the environment; at the end none is left."""
    started: list[Any] = []
    monkeypatch.setattr("openrouter_tap._http.servers", started)

    def start(**environment: str) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        started.append(cipherlog_core.start("app"))

    yield start
    cipherlog_core.stop()


def answer(library: ModuleType, status: int = 200) -> Callable[[object], Any]:
    headers = {"x-secret": SECRET}
    return lambda _: library.Response(status, json=message(SECRET), headers=headers)


def client(library: ModuleType, reply: Callable[[Any], Any], **options: Any) -> Any:
    return library.Client(transport=TappedTransport(library.MockTransport(reply)), **options)


def steps(logs: Logs) -> list[dict[str, Any]]:
    return [record for record in logs.read("app") if record["event"] == "http"]


@pytest.mark.parametrize(("method", "tail"), [("POST", "chat/completions"), ("GET", "models")])
def test_start_headers_and_end(
    method: str, tail: str, library: ModuleType, logs: Logs, server: Callable[..., None]
) -> None:
    """Of an inference call and of any other: in the server's own log, with the ids of the call."""
    server(LOG_LEVEL="DEBUG")
    with client(library, answer(library)) as tapped, tag(session_id="s-1", tool="t"):
        tapped.request(method, f"https://openrouter.ai/api/v1/{tail}?key={SECRET}", json=BODY)

    found = steps(logs)
    assert [list(record["fields"]) for record in found] == [FIELDS] * 3
    assert [(r["level"], r["server"], r["session_id"], r["tool"]) for r in found] == [("DEBUG", "app", "s-1", "t")] * 3
    facts = [tuple(r["fields"][name] for name in ("phase", "http_status", "sample_weight")) for r in found]
    assert facts == [("start", None, 1), ("headers", 200, 1), ("end", 200, 1)]
    assert {(r["fields"]["method"], r["fields"]["host"], r["fields"]["path"]) for r in found} == {
        (method, "openrouter.ai", f"/api/v1/{tail}")
    }
    start, headers, end = (record["fields"]["latency_ms"] for record in found)
    assert start is None
    assert 0 < headers <= end


def test_neither_body_nor_header_nor_query(library: ModuleType, logs: Logs, server: Callable[..., None]) -> None:
    """The secret is in each of them, of request and reply, and in no line of the tap's."""
    server(LOG_LEVEL="DEBUG")
    headers = {"Authorization": f"Bearer {SECRET}", "Cookie": f"c={SECRET}"}
    with client(library, answer(library), headers=headers) as tapped:
        assert SECRET in tapped.post(URL, params={"key": SECRET}, json=BODY).text

    lines = [*steps(logs), *logs.read()]
    assert len(lines) == 4
    assert SECRET not in str(lines)


def test_a_call_that_fails(library: ModuleType, logs: Logs, server: Callable[..., None]) -> None:
    """No headers came: a start and an end, without a status."""
    server(LOG_LEVEL="DEBUG")

    def refuse(request: Any) -> None:
        raise library.ConnectError("refused", request=request)

    with client(library, refuse) as tapped, pytest.raises(library.ConnectError):
        tapped.post(URL, json=BODY)

    assert [(r["fields"]["phase"], r["fields"]["http_status"]) for r in steps(logs)] == [("start", None), ("end", None)]


@pytest.mark.parametrize("fails", [False, True])
def test_two_taps_tell_once(fails: bool, library: ModuleType, logs: Logs, server: Callable[..., None]) -> None:
    """Whichever doors they are, and again for each attempt."""
    server(LOG_LEVEL="DEBUG")

    def reply(request: Any) -> Any:
        if fails:
            raise library.ConnectError("refused", request=request)
        return answer(library)(request)

    inner = TappedTransport(library.MockTransport(reply))
    with library.Client(transport=TappedTransport(inner), event_hooks=event_hooks()) as tapped:
        request = tapped.build_request("POST", URL, json=BODY)
        for _ in range(2):
            try:
                tapped.send(request)
            except library.ConnectError:
                assert fails

    once = ["start", "end"] if fails else ["start", "headers", "end"]
    assert [record["fields"]["phase"] for record in steps(logs)] == once * 2


@pytest.mark.parametrize(
    ("environment", "url"),
    [({"LOG_LEVEL": "INFO"}, URL), ({"LOG_LEVEL": "DEBUG"}, "https://example.org/api/v1/chat/completions")],
    ids=["at INFO", "another host"],
)
def test_none(
    environment: dict[str, str], url: str, library: ModuleType, logs: Logs, server: Callable[..., None]
) -> None:
    """Above DEBUG, and of hosts that are not tapped."""
    server(**environment)
    with client(library, answer(library)) as tapped:
        tapped.post(url, json=BODY)

    assert steps(logs) == []


def test_without_a_server(library: ModuleType, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that starts none has no log for them, whatever the level."""
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    with client(library, answer(library)) as tapped:
        tapped.post(URL, json=BODY)

    logs.read()
    assert [path.name for path in logs.folder.glob("*.jsonl")] == ["openrouter-costs.jsonl"]


@pytest.mark.parametrize(
    ("path", "masked"),
    [
        ("/api/v1/chat/completions", "/api/v1/chat/completions"),
        ("/api/v1/generation/gen-1790000000-AbCdEf", "/api/v1/generation/*"),
        ("/v1/responses/resp_0f3a9c7b/input_items", "/v1/responses/*/input_items"),
        ("/users/alice%40example.com/keys/0123456789abcdef", "/users/*/keys/*"),
        ("/api/v1/models", "/api/v1/models"),
    ],
)
def test_ids_are_masked(path: str, masked: str, library: ModuleType, logs: Logs, server: Callable[..., None]) -> None:
    """A part of a path with a digit in it, and of eight characters or more, may name a person or a thing."""
    server(LOG_LEVEL="DEBUG")
    with client(library, answer(library)) as tapped:
        tapped.get(f"https://openrouter.ai{path}")

    assert {record["fields"]["path"] for record in steps(logs)} == {masked}
    assert _ID.sub("*", masked) == masked


def test_sampled_by_session(library: ModuleType, logs: Logs, server: Callable[..., None]) -> None:
    """Of a session all steps or none, each with its weight; costs are not sampled."""
    server(LOG_LEVEL="DEBUG", LOG_SAMPLE_HTTP="3")
    sessions = [f"session {number}" for number in range(30)]
    with client(library, answer(library)) as tapped:
        for session in sessions:
            with tag(session_id=session):
                tapped.post(URL, json=BODY)

    found = steps(logs)
    kept = {record["session_id"] for record in found}
    assert 0 < len(kept) < len(sessions)
    assert len(found) == 3 * len(kept)
    assert {record["fields"]["sample_weight"] for record in found} == {3}
    assert [record["session_id"] for record in logs.read()] == sessions
