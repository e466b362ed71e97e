"""What holds for any input."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replies import COMMENT, URL, chunk, dumps, message, stream

from cipherlog_core import Settings, _encode
from cipherlog_core._encode import LINE_LIMIT, encode, fit
from cipherlog_core.reading import Choice
from openrouter_tap import CallEvent
from openrouter_tap._bridge import current
from openrouter_tap._event import Outcome
from openrouter_tap._json_stream import JsonStream
from openrouter_tap._parse.request import read_request
from openrouter_tap._sse_stream import SseStream

SEED = 20261123
common = settings(max_examples=75, deadline=None, derandomize=True)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.uuids()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.none(), inner) | st.frozensets(scalars)
    ),
    max_leaves=20,
)
words = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=20)


def observed(kind: type[Any], chunks: list[bytes]) -> tuple[CallEvent, list[bytes]]:
    """The event of a reply that comes in *chunks*, and what the caller got."""
    events: list[CallEvent] = []
    request = httpx.Request("POST", URL, content=b"{}")
    call = kind(request, (current(), (None, None), 0, False, None), lambda event, *_: events.append(event))
    call.status, call.headers = 200, httpx.Headers()

    class Body(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield from chunks

    call.body = Body()
    passed = list(call)
    call.close()
    (event,) = events
    return event, passed


def facts(event: CallEvent) -> tuple[Any, ...]:
    ids = event.model, event.generation_id, event.upstream_provider
    outcome: Outcome = event.outcome
    return *ids, outcome, event.tokens, event.cost, event.finish_reason


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """*data* in any chunks, empty ones among them."""
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=30)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@given(st.data())
@common
def test_a_stream_has_the_same_facts_in_any_chunks(data: st.DataObject) -> None:
    """However it is cut, with comments anywhere between its events and any of the three newlines."""
    events = stream(data.draw(st.integers(1, 6)))
    events[2] = chunk({"content": data.draw(words)})
    for place in sorted(data.draw(st.lists(st.integers(0, len(events) - 1), max_size=4)), reverse=True):
        events.insert(place, COMMENT)
    text = b"".join(events).replace(b"\n", data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"])))
    whole, _ = observed(SseStream, [text])
    chunks = data.draw(cut(text))
    event, passed = observed(SseStream, chunks)

    assert passed == chunks
    assert facts(event) == facts(whole)
    assert (event.outcome, event.cost.total, event.finish_reason) == ("completed", 0.0123, "stop")
    assert event.ttft_ms is not None
    assert len(text) - 4 <= event.bytes_in <= len(text)  # the newlines behind [DONE] may come when the call is over


@given(st.data())
@common
def test_a_json_reply_has_the_same_facts_in_any_chunks(data: st.DataObject) -> None:
    """However it is cut, padded or compressed."""
    body = b"\n   \n" * data.draw(st.integers(0, 3)) + dumps(message(data.draw(words)))
    if data.draw(st.booleans()):
        body = gzip.compress(body)
    chunks = data.draw(cut(body))
    event, passed = observed(JsonStream, chunks)

    assert passed == chunks
    assert facts(event) == facts(observed(JsonStream, [body])[0])
    assert (event.outcome, event.cost.total, event.bytes_in) == ("completed", 0.0123, len(body))


@given(
    st.lists(st.binary(max_size=300) | st.sampled_from(stream()), max_size=12), st.sampled_from([JsonStream, SseStream])
)
@common
def test_any_bytes_give_one_event(chunks: list[bytes], kind: type[Any]) -> None:
    """Garbage raises nothing, and passes unchanged."""
    event, passed = observed(kind, chunks)

    assert passed == chunks
    assert event.bytes_in == sum(map(len, chunks)) or (kind is SseStream and b"[DONE]" in b"".join(chunks))
    assert event.outcome in ("completed", "failed", "stream_error")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "id",
                        "model",
                        "usage",
                        "cost",
                        "choices",
                        "error",
                        "prompt_tokens",
                        "is_byok",
                        "cost_details",
                        "finish_reason",
                    ]
                ),
                inner,
            )
        ),
        max_leaves=12,
    )
)
@common
def test_any_json_gives_one_event(value: object) -> None:
    """Whatever stands where, no fact is of a wrong kind."""
    event, _ = observed(JsonStream, [json.dumps(value).encode()])

    assert event.cost.total is None or event.cost.total >= 0
    assert event.tokens.prompt is None or event.tokens.prompt >= 0
    assert event.model is None or isinstance(event.model, str)


@given(values)
@common
def test_any_value_is_valid_json(value: object) -> None:
    """One line, strict, whatever was passed, and the same without orjson."""
    line = encode({"value": value})

    def refuse(constant: object) -> None:
        raise TypeError(constant)

    assert b"\n" not in line
    assert json.loads(line, parse_constant=refuse).keys() == {"value"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_encode, "dumps", refuse)
        slow = encode({"value": value})
    assert json.loads(slow, parse_constant=refuse) == json.loads(line)


@given(st.dictionaries(st.text(max_size=30), values, max_size=8), st.integers(60, LINE_LIMIT))
@settings(common, max_examples=40)
def test_what_is_fitted_fits(fields: dict[str, object], room: int) -> None:
    """Any fields in any room, as valid JSON."""
    data, _ = fit(fields, room)

    assert len(data) <= room
    json.loads(data)


@given(
    st.binary(max_size=400)
    | st.builds(dumps, st.dictionaries(st.sampled_from(["model", "stream", "messages"]), st.text()))
)
@common
def test_any_request_body_is_read_without_an_exception(body: bytes) -> None:
    """Text or nothing."""
    assert isinstance(read_request(body).model, str | None)


@pytest.mark.parametrize("variable", [choice.variable for choice in Choice.all_in({})])
@given(text=st.text(max_size=20))
@common
def test_any_environment_gives_settings(variable: str, text: str) -> None:
    """No value of any variable crashes a program."""
    assert isinstance(Settings.from_env({variable: text}), Settings)
