"""What holds for replies of chat, `/responses` and `/messages`, however they come over the wire."""

from __future__ import annotations

import gzip
import random
import zlib
from typing import Any

import pytest
from dialects import DIALECTS, observed
from hypothesis import given, settings
from hypothesis import strategies as st
from replies import COMMENT, dumps

from openrouter_tap import CallEvent
from openrouter_tap._json_stream import JsonStream
from openrouter_tap._sse_stream import SseStream

pytestmark = pytest.mark.usefixtures("logs")

common = settings(max_examples=50, deadline=None, derandomize=True)
words = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=30)
COMMENTS = [COMMENT, b": \n\n", b":\n"]
CODINGS = {"identity": bytes, "gzip": gzip.compress, "deflate": zlib.compress}
every = pytest.mark.parametrize("name", DIALECTS)
either = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


def facts(event: CallEvent) -> tuple[Any, ...]:
    """All that is told by the bytes of the reply."""
    ids = event.model, event.generation_id, event.upstream_provider, event.service_tier
    return *ids, event.outcome, event.error, event.tokens, event.cost, event.finish_reason


def cuts(data: st.DataObject, body: bytes) -> list[bytes]:
    """*body* in any chunks: a few, or all of one size, empty ones among them."""
    if size := data.draw(st.sampled_from([0, 1, 2, 7, 64]), "size"):
        return [body[at : at + size] for at in range(0, len(body), size)]
    places = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=30), "cuts"))
    return [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]


@every
@either
@given(data=st.data())
@common
def test_a_stream_has_the_same_facts_however_it_comes(name: str, data: st.DataObject, *, is_async: bool) -> None:
    """In any chunks, coding and newlines, with comments between any of its lines."""
    url, _, make = DIALECTS[name]
    whole, _ = observed(SseStream, [b"".join(make(3))], url)
    lines = b"".join(make(data.draw(st.integers(1, 6)))).splitlines(keepends=True)
    ends = [place for place, line in enumerate(lines) if line == b"\n"]
    for place in sorted(data.draw(st.lists(st.sampled_from(ends), max_size=4)), reverse=True):
        lines.insert(place + 1, data.draw(st.sampled_from(COMMENTS)))
    text = b"".join(lines).replace(b"\n", data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]), "newline"))
    coding = data.draw(st.sampled_from(list(CODINGS)))
    chunks = cuts(data, CODINGS[coding](text))
    event, passed = observed(SseStream, chunks, url, is_async=is_async, content_encoding=coding)

    assert passed == chunks
    assert facts(event) == facts(whole)
    assert (event.outcome, event.cost.total, event.tokens.prompt) == ("completed", 0.0123, 1200)
    assert (event.ttft_ms is None) == (coding != "identity")


@every
@either
@given(data=st.data())
@common
def test_a_json_reply_has_the_same_facts_however_it_comes(name: str, data: st.DataObject, *, is_async: bool) -> None:
    """In any chunks and coding, deflated without a frame too, with padding ahead, and whatever its text says."""
    url, make, _ = DIALECTS[name]
    whole, _ = observed(JsonStream, [dumps(make())], url)
    body = b"\n         \n" * data.draw(st.integers(0, 3)) + dumps(make(data.draw(words)))
    coding = data.draw(st.sampled_from([*CODINGS, "bare"]))
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(body) + packer.flush() if coding == "bare" else CODINGS[coding](body)
    chunks = cuts(data, packed)
    header = coding.replace("bare", "deflate")
    event, passed = observed(JsonStream, chunks, url, is_async=is_async, content_encoding=header)

    assert passed == chunks
    assert facts(event) == facts(whole)
    assert (event.outcome, event.cost.total, event.bytes_in) == ("completed", 0.0123, len(packed))


RANDOM = random.Random(20261124)
LONG = "".join(RANDOM.choices(list(map(chr, range(32, 127))), k=1_500_000))
LONG_CODINGS = {"identity": bytes, "gzip": lambda body: gzip.compress(body, 1), "deflate": zlib.compress}


@every
@pytest.mark.parametrize("coding", LONG_CODINGS)
def test_a_long_json_reply_keeps_its_cost(name: str, coding: str) -> None:
    """Of more than 1 MiB on the wire, in chunks of mixed sizes: only its ends are kept, and they tell."""
    url, make, _ = DIALECTS[name]
    chunks = mixed(LONG_CODINGS[coding](dumps(make(LONG))))
    event, passed = observed(JsonStream, chunks, url, content_encoding=coding)

    assert passed == chunks
    assert sum(map(len, chunks)) > 1 << 20
    assert (event.outcome, event.cost.total, event.tokens.prompt) == ("completed", 0.0123, 1200)


@every
def test_a_long_stream_keeps_its_cost(name: str) -> None:
    """Its last events are kept, and what they need of the first."""
    url, _, make_stream = DIALECTS[name]
    whole, _ = observed(SseStream, make_stream(3), url)
    chunks = mixed(b"".join(make_stream(10_000)))
    event, passed = observed(SseStream, chunks, url)

    assert passed == chunks
    assert facts(event) == facts(whole)


def mixed(body: bytes) -> list[bytes]:
    chunks, at = [], 0
    while at < len(body):
        size = RANDOM.choice([3, 1000, 16_384, 65_536, 1 << 19])
        chunks.append(body[at : at + size])
        at += size
    return chunks
