"""`TapOptions.on_event`: each event to a function, and nothing of it to the call."""

from __future__ import annotations

import asyncio
import gc
from types import ModuleType
from typing import Any

import msgspec
import pytest
from conftest import Logs
from replies import URL

from openrouter_tap import CallEvent, TapOptions, TappedTransport
from openrouter_tap.testing import FakeOpenRouter

ASKED = {"model": "maker/model", "messages": []}


@pytest.fixture(autouse=True)
def fresh_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process."""
    monkeypatch.setattr("openrouter_tap._bridge.notice._seen", set())


def raising(_: CallEvent) -> None:
    raise ZeroDivisionError


def exchange(library: ModuleType, options: TapOptions | None) -> list[Any]:
    """What a caller sees of five calls: JSON, a stream, one left early, an error, and none at all."""
    fake = FakeOpenRouter()
    fake.reply("one")
    fake.reply("two")
    fake.reply("three")
    fake.error(503)
    fake.abort("ConnectError")
    mock = library.MockTransport(fake)
    with library.Client(transport=TappedTransport(mock, options=options) if options else mock) as client:
        seen = [client.post(URL, json=ASKED).json()["choices"][0]["message"]["content"]]
        seen.append(client.post(URL, json={**ASKED, "stream": True}).text.count("data:"))
        with client.stream("POST", URL, json={**ASKED, "stream": True}) as reply:
            seen.append(len(next(reply.iter_bytes())) > 0)
        seen.append(client.post(URL, json=ASKED).status_code)
        with pytest.raises(library.ConnectError) as caught:
            client.post(URL, json=ASKED)
        seen.append((str(caught.value), caught.value.__context__, caught.value.__cause__))
    gc.collect()
    fake.check()
    return seen


def test_each_event_is_given_as_it_is_written(library: ModuleType, logs: Logs, events: list[CallEvent]) -> None:
    """However the call ends, once, and the same facts as on disk."""
    exchange(library, TapOptions(on_event=events.append))

    assert [event.outcome for event in events] == ["completed", "completed", "closed_early", "http_error", "failed"]
    assert [msgspec.to_builtins(event) for event in events] == [record["fields"] for record in logs.read()]


@pytest.mark.parametrize("on_event", [raising, lambda _: asyncio.sleep(0)], ids=["raises", "gives a coroutine"])
def test_nothing_of_it_reaches_the_call(
    on_event: Any, library: ModuleType, logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller sees what it sees without a tap, the events are written, and one notice tells."""
    bare = exchange(library, None)
    tapped = exchange(library, TapOptions(on_event=on_event))

    assert tapped == bare
    assert len(logs.read()) == 5
    (told,) = [record.getMessage() for record in caplog.records if record.name == "openrouter_tap"]
    assert "on_event" in told


def test_each_function_that_raises_is_told_once(
    library: ModuleType, logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    """By its name, however many taps it is given to."""

    def also_raising(_: CallEvent) -> None:
        raise ZeroDivisionError

    for on_event in (raising, also_raising, raising):
        exchange(library, TapOptions(on_event=on_event))

    assert len(logs.read()) == 15
    told = [record.getMessage() for record in caplog.records if record.name == "openrouter_tap"]
    assert ["also_raising" in message for message in told] == [False, True]


@pytest.mark.parametrize("given", [asyncio.sleep, 5, "print"])
def test_what_is_no_plain_function_is_refused(given: Any) -> None:
    """At construction, with what to give instead."""
    with pytest.raises(TypeError, match=r"no plain function.*put_nowait"):
        TapOptions(on_event=given)
