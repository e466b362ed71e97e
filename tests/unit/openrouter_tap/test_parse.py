from __future__ import annotations

import gzip
import itertools
import json
import random
import zlib
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from replies import COMMENT, DONE, ENVELOPE, ID, USAGE, chunk, dumps, message, stream

from openrouter_tap import CallError
from openrouter_tap._parse import coding, sse
from openrouter_tap._parse.coding import WHOLE, edges, inflate
from openrouter_tap._parse.failure import read_failure
from openrouter_tap._parse.reply import read_reply
from openrouter_tap._parse.request import read_request
from openrouter_tap._parse.sse import Kept, has_content
from openrouter_tap._parse.wire import Reply

TEXT = 'the model said "model": "fake/model", and {"stream":true} too\\n' * 2000
IMAGES = [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0KGgo" * 200_000}}]


def read(body: bytes | list[bytes], *, cut: bool = False, coding: str = "") -> Reply | None:
    return read_reply(body, cut=cut, coding=lambda: coding)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


class TestRequest:
    @pytest.mark.parametrize(
        "messages",
        [[], [{"role": "user", "content": TEXT[:900]}], [{"role": "user", "content": TEXT}], IMAGES],
        ids=["empty", "small", "large", "images"],
    )
    @pytest.mark.parametrize("order", ["model first", "messages first", "messages between"])
    def test_model_and_stream(self, messages: list[object], order: str) -> None:
        """Found wherever they stand, in a body of any size, and not in what a message says."""
        before = {} if order == "messages first" else {"model": "maker/model"}
        after = {} if order == "model first" else {"temperature": 1, "model": "maker/model", "stream": True}
        asked = read_request(dumps({**before, "stream": True, "messages": messages, **after}))

        assert asked.model == "maker/model"
        assert asked.stream in (True, None)

    def test_a_model_that_is_not_at_the_top_is_none(self) -> None:
        """Neither the head nor the tail of a large body is taken for more than it proves."""
        inner = {"content": "x" * 100_000, "model": "fake"}

        assert read_request(dumps({"messages": [inner], "tools": [{"model": "fake"}]})).model is None

    @pytest.mark.parametrize(
        "body",
        [
            b'{"model":"\xff\xfe"}',
            b'{"messages":' + b"[" * 3000,
            b"",
            b"not json",
            b"[]",
            b'{"model":7}',
            b'{"model":"x"',
            b"\xff" * 9000,
        ],
    )
    def test_what_is_no_request_asks_nothing(self, body: bytes) -> None:
        """No exception, no guess."""
        assert (read_request(body).model, read_request(body).stream) == (None, None)


class TestReply:
    def test_facts(self) -> None:
        """The typed view of a reply."""
        reply = read(dumps(message()))

        assert (reply.id, reply.model, reply.provider, reply.finish_reason) == (
            ID,
            "maker/model-1-20260101",
            "Maker",
            "stop",
        )
        assert reply.usage.cost == 0.0123

    @pytest.mark.parametrize("parts", [1, 7, 1000])
    def test_padding_and_parts(self, parts: int) -> None:
        """Keep-alive whitespace ahead of the JSON, in any number of parts."""
        body = b"\n         \n" * 3 + dumps(message())
        size = -(-len(body) // parts)

        assert read([body[at : at + size] for at in range(0, len(body), size)]).usage.cost == 0.0123

    @pytest.mark.parametrize(
        ("usage", "expected"),
        [
            ({"prompt_tokens": "12", "cost": "0.5"}, (12, 0.5)),
            ({"prompt_tokens": 12.0, "cost": 3}, (12, 3.0)),
            ({"prompt_tokens": -1, "cost": -0.5}, (None, None)),
            ({"prompt_tokens": True, "cost": False}, (None, None)),
            ({"prompt_tokens": 2**70, "cost": float("nan")}, (None, None)),
            ({"prompt_tokens": [1], "cost": {"a": 1}}, (None, None)),
            ({"prompt_tokens": None, "cost": None}, (None, None)),
            ({"prompt_tokens": 12, "cost": 1e-07}, (12, 1e-07)),
            ({"prompt_tokens": "inf", "cost": "inf"}, (None, None)),
            ({"prompt_tokens": 12, "cost": "nan"}, (12, None)),
            ({"prompt_tokens": 12, "cost": 0, "is_byok": "yes"}, (12, None)),
            ({"prompt_tokens": 12, "cost": 0.5, "is_byok": None}, (12, 0.5)),
        ],
    )
    def test_one_bad_fact_spoils_no_other(self, usage: dict[str, object], expected: tuple[object, object]) -> None:
        """What is right is taken; what is no count or no money is unknown."""
        reply = read(json.dumps({**ENVELOPE, "usage": {"completion_tokens": 9, **usage}}).encode())

        found = reply.usage.prompt_tokens, reply.usage.cost
        assert (found, reply.usage.completion_tokens, reply.model) == (expected, 9, ENVELOPE["model"])

    @pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "1" * 5000], ids=["1e999", "-1e999", "NaN", "long"])
    def test_numbers_that_no_float_holds(self, number: str) -> None:
        """Infinite, not a number, thousands of digits: unknown, and nothing raised."""
        reply = read(b'{"id":"x","usage":{"cost":%b,"prompt_tokens":3}}' % number.encode())

        assert (reply.usage.cost, reply.usage.prompt_tokens) == (None, 3)

    def test_long_texts_are_cut(self) -> None:
        """A reply cannot make a line of any length."""
        assert len(read(dumps(message(model="m" * 10_000))).model) == 256

    @pytest.mark.parametrize(
        ("body", "model"),
        [
            (b'{"model":"a\xff\xfe","id":"gen-1"}', "a\ufffd\ufffd"),
            (b'{"id":"gen-1","deep":' + b"[" * 100_000, None),
            (b"\xef\xbb\xbf" + dumps({"id": "gen-1", "model": "m"}), "m"),
            (json.dumps({"id": "gen-1", "model": "m"}).encode("utf-16"), "m"),
        ],
        ids=["bytes that are no UTF-8", "deep", "BOM", "UTF-16"],
    )
    def test_odd_encodings(self, body: bytes, model: str | None) -> None:
        """Whatever a client would read is read, and nothing is raised."""
        reply = read(body)

        assert (reply and reply.model) == model

    def test_codings_that_are_not_undone_are_no_faults(self) -> None:
        """br and zstd: nothing is known, and nothing said to be broken. Deflate without a frame is undone."""
        assert read(b"\x0b\x02\x80 not JSON", coding="br") == Reply()
        assert read(b"\x28\xb5\x2f\xfd", coding="ZSTD") == Reply()
        assert read(b"<html>", coding="gzip") is None
        assert read(raw_deflate(dumps(message())), coding="deflate").usage.cost == 0.0123

    @pytest.mark.parametrize("body", [b"<html>", b'{"id":"x', b"[1]", b'"x"', b"[" * 100_000, b"\x00"])
    def test_what_is_no_object_is_broken(self, body: bytes) -> None:
        """None says that the reply is not JSON, or cut."""
        assert read(body) is None

    @pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "zlib"])
    def test_compressed(self, pack: object) -> None:
        """Known by its first bytes, whatever the header says."""
        assert read(pack(dumps(message()))).usage.cost == 0.0123

    def test_a_body_of_which_only_the_ends_are_left(self) -> None:
        """A reply of many MiB keeps ids and usage: they stand at its two ends."""
        reply = read(edges([dumps(message("word " * 500_000))]), cut=True)

        assert (reply.id, reply.model, reply.usage.cost) == (ID, ENVELOPE["model"], 0.0123)

    @pytest.mark.parametrize("usage", [{"cost": 0.5}, None], ids=["ahead", "nowhere"])
    def test_usage_within_a_long_reply_is_not_its_own(self, usage: object) -> None:
        """What a tool says of its own usage is no cost of the call."""
        items = [{"text": "x" * (2 << 20)}, {"result": {"usage": {"cost": 99}}}]
        reply = read(edges([dumps({"id": ID, "usage": usage, "output": items})]), cut=True)

        assert (reply.usage and reply.usage.cost) == (usage and 0.5)

    def test_a_long_compressed_body(self) -> None:
        """It is unpacked to its ends, too."""
        assert read(gzip.compress(dumps(message("word " * 500_000)))).usage.cost == 0.0123

    @pytest.mark.parametrize(
        "make",
        [
            lambda: gzip.compress(bytes(300 << 20)),
            lambda: gzip.compress(gzip.compress(b"{}")),
            lambda: b"\x1f\x8b broken",
        ],
        ids=["large", "nested", "broken"],
    )
    def test_bombs_are_not_unpacked(self, make: Callable[[], bytes]) -> None:
        """Beyond the bounds nothing is known and nothing broken."""
        assert read(make()) in (Reply(), None)


def test_inflating_is_bounded() -> None:
    """Nothing of more than the two ends of a long content is held."""
    parts, size = inflate(gzip.compress(b"x" * (4 * WHOLE)))

    assert size == 4 * WHOLE
    assert sum(map(len, parts)) <= WHOLE


def test_a_slow_machine_gives_up_bombs_and_not_long_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    """On it a step of 64 KiB takes a millisecond: 32 MiB of zeros 512 ms, and 4 MiB of noise 64 to 128."""
    clock = itertools.count()
    monkeypatch.setattr(coding, "time", SimpleNamespace(thread_time=lambda: next(clock) * 0.001))

    assert inflate(gzip.compress(bytes(32 << 20))) is None
    _, size = inflate(gzip.compress(random.Random(20261201).randbytes(4 << 20), 1))
    assert size == 4 << 20


class TestFailure:
    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (
                {"code": 429, "message": "m", "metadata": {"error_type": "rate_limit_exceeded"}},
                ("rate_limit_exceeded", "429"),
            ),
            ({"type": "authentication_error", "message": "m"}, ("authentication_error", None)),
            ({"error_type": "provider_overloaded", "type": "other", "message": "m"}, ("provider_overloaded", None)),
            ({"code": 400, "message": "m"}, ("400", "400")),
            ({"code": "server_error", "message": "m"}, ("502", "server_error")),
            ({"message": "m", "metadata": None}, ("502", None)),
            ({"type": "a whole sentence, perhaps the prompt", "code": True}, ("502", None)),
            ("only a text", ("502", None)),
            (["odd"], ("502", None)),
        ],
    )
    def test_type_and_code(self, error: object, expected: tuple[str, str | None]) -> None:
        """From each of the places where OpenRouter puts them; a message is never taken."""
        assert read_failure(dumps(error), 502) == CallError(*expected)


class TestStream:
    def kept(self, parts: list[bytes]) -> Kept:
        kept = Kept()
        held = 0
        for part in parts:
            kept.parts.append(part)
            held += len(part)
            if held > kept.limit:
                held = kept.trim(held)
        return kept

    @pytest.mark.parametrize("words", [1, 5, 300, 4000])
    @pytest.mark.parametrize("size", [1, 3, 64, 1000, 10**7])
    def test_facts_in_any_cut(self, words: int, size: int) -> None:
        """The last usage, the ids, the finish reason of an event before; and the end is seen."""
        if words == 4000 and size < 64:
            size = 64
        text = b"".join(stream(words))
        kept = self.kept([text[at : at + size] for at in range(0, len(text), size)])

        reply = kept.facts()
        assert (reply.id, reply.model, reply.finish_reason, reply.usage.cost) == (ID, ENVELOPE["model"], "stop", 0.0123)
        assert kept.is_over(64)
        assert sum(map(len, kept.parts)) <= kept.limit

    def test_a_byte_order_mark(self) -> None:
        """Ahead of the first event, which tells all."""
        kept = self.kept([b"\xef\xbb\xbf", chunk({"content": "x"}, usage=USAGE), DONE])

        assert kept.facts().usage.cost == 0.0123

    def test_the_last_usage_wins(self) -> None:
        """A stream that reports usage twice means the second."""
        parts = [chunk({}, usage={"cost": 1}), *stream(3)]

        assert self.kept(parts).facts().usage.cost == 0.0123

    def test_events_that_say_null_hide_no_usage(self) -> None:
        """As those of other services do, behind the one event that tells it."""
        parts = [chunk({}, usage=USAGE), *[chunk({"content": "x"}, usage=None)] * 20, DONE]

        assert self.kept(parts).facts().usage.cost == 0.0123

    def test_what_is_no_usage_of_the_reply_costs_nothing(self) -> None:
        """An object of that name in an event that was left, however long the stream."""
        parts = [chunk({"content": "x" * 100}) for _ in range(3000)]
        parts.append(chunk({"extra": {"result": {"usage": {"cost": 55}}}}))

        assert self.kept(parts).facts().usage is None

    def test_usage_before_much_text(self) -> None:
        """It is kept when what is around it goes."""
        parts = [chunk({}, usage=USAGE), *(chunk({"content": "x" * 100}) for _ in range(3000))]

        kept = self.kept(parts)
        assert kept.facts().usage.cost == 0.0123
        assert kept.gone + sum(map(len, kept.parts)) == sum(map(len, parts))

    def test_a_cut_stream_has_its_ids(self) -> None:
        """Of a stream that was left, what the first events say is known."""
        reply = self.kept([COMMENT, chunk({"content": "x"}), b'data: {"id":"gen-1790']).facts()

        assert (reply.id, reply.model, reply.usage) == (ID, ENVELOPE["model"], None)

    def test_an_event_longer_than_all_that_is_held(self) -> None:
        """One giant event at the end does not hide the usage in it."""
        parts = [*stream(2)[:-2], chunk({"content": "x" * 600000}, usage=USAGE), DONE]
        text = b"".join(parts)

        assert self.kept([text[at : at + 16384] for at in range(0, len(text), 16384)]).facts().usage.cost == 0.0123

    def test_an_endless_line_is_let_go(self) -> None:
        """Memory stays bounded though no line ever ends."""
        kept = self.kept([b"data: "] + [b"x" * 65536] * 100)

        assert sum(map(len, kept.parts)) <= 1 << 21

    @pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
    def test_newlines(self, newline: bytes) -> None:
        """Any of the three that the format allows."""
        text = b"".join(stream(3)).replace(b"\n", newline)

        kept = self.kept([text])
        assert kept.facts().usage.cost == 0.0123
        assert kept.is_over()

    @pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
    @pytest.mark.parametrize("space", [b" ", b""])
    def test_events_of_several_lines(self, newline: bytes, space: bytes) -> None:
        """As the format allows, whoever stands between OpenRouter and us."""
        usual = b"".join(stream(3))
        text = usual.replace(b",", b",\ndata: ").replace(b"data: ", b"data:" + space).replace(b"\n", newline)
        kept = self.kept([text])

        assert kept.facts() == self.kept([usual]).facts()
        assert kept.is_over()

    def test_compressed(self) -> None:
        """Though its first chunk has but one byte."""
        data = gzip.compress(b"".join(stream(3)))

        assert self.kept([data[:1], data[1:]]).facts().usage.cost == 0.0123

    @pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
    def test_lines_that_are_no_events_are_given_up(
        self, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each costs more than an event does, and a body of 1.5 kB may hold a hundred thousand of them."""
        tried: list[bytes] = []
        monkeypatch.setattr(sse, "read_loosely", tried.append)
        self.kept([pack(b"data:x\n" * 18_000)]).facts()

        assert 0 < len(tried) <= 200

    def test_an_error_between_other_events(self) -> None:
        """An error event is seen, with usage in the same event or in one after it."""
        error = {"code": 502, "message": "gone", "metadata": {"error_type": "provider_unavailable"}}
        for parts in (
            [*stream(3)[:4], chunk({}, "error", error=error)],
            [*stream(3)[:4], chunk({}, error=error, usage=USAGE), DONE],
            [*stream(3)[:4], chunk({}, "error", error=error), chunk({}, usage=USAGE), DONE],
        ):
            assert read_failure(self.kept(parts).facts().failure, 200) == CallError("provider_unavailable", "502")

    @pytest.mark.parametrize("text", [b'data: {"x":"[DONE]\n\n', b": data: [DONE]\n\n", b"data: [DONE]x\n\n"])
    def test_what_only_looks_like_the_end(self, text: bytes) -> None:
        """A text that ends like the last event is none."""
        assert not self.kept([*stream(2)[:-1], text]).is_over()

    @pytest.mark.parametrize(
        "delta",
        [
            {"content": "x"},
            {"content": "", "reasoning": "x"},
            {"content": None, "tool_calls": [{"index": 0}]},
            {"audio": {"data": "AAAA"}},
            {"content": "", "reasoning_details": [{"type": "reasoning.text", "text": "x"}]},
        ],
    )
    def test_content(self, delta: dict[str, object]) -> None:
        """Text, reasoning, a tool call, audio: the first token is there."""
        assert has_content(chunk(delta))

    @pytest.mark.parametrize(
        "text",
        [
            COMMENT,
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": None, "reasoning": None, "tool_calls": []}),
            chunk({"content": ""}, "stop", usage=USAGE),
            DONE,
        ],
    )
    def test_no_content(self, text: bytes) -> None:
        """Comments, roles, empty deltas and usage are not."""
        assert not has_content(text)
