from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import uuid
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Real
from typing import NamedTuple
from unittest.mock import MagicMock

import attrs
import pydantic
import pytest

from cipherlog_core._encode import LINE_LIMIT, encode, encode_text, fit


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@dataclasses.dataclass
class Point:
    x: int
    y: object


class Pair(NamedTuple):
    user: str
    password: str


class Model(pydantic.BaseModel):
    user: str
    password: object
    hidden: str = pydantic.Field("hidden", repr=False)


@attrs.define
class Attrs:
    user: str
    password: object
    hidden: str = attrs.field(default="hidden", repr=False)
    masked: str = attrs.field(default="hidden", repr=lambda _: "***")


@Integral.register
class Scalar:
    """An integer as numpy has them."""

    def __int__(self) -> int:
        return 7


@Real.register
class Single:
    """A float of numpy's that is none of Python's."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __float__(self) -> float:
        return self.value


class Row:
    def _asdict(self) -> dict[str, object]:
        return {"user": "me", "password": "x"}


class Failing(Row):
    def _asdict(self) -> dict[str, object]:
        raise RuntimeError

    def __str__(self) -> str:
        return "text"


class Colour(enum.Enum):
    RED = "red"


MOCK = MagicMock()
CYCLE: dict[str, object] = {"a": 1}
CYCLE["self"] = CYCLE
TWICE: list[object] = []
TWICE += [TWICE, TWICE]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (float("inf"), None),
        (2**70, str(2**70)),
        (-(2**63), -(2**63)),
        ("\ud800 lone", "\\ud800 lone"),
        (b"bytes \xff", "bytes \\xff"),
        ({1: "a", None: "b"}, {"1": "a", "None": "b"}),
        ({"\udc00": 1}, {"\\udc00": 1}),
        ({3}, [3]),
        (Decimal("1.50"), "1.50"),
        (Point(1, 2), {"x": 1, "y": 2}),
        ([Point(1, 2), b"x"], [{"x": 1, "y": 2}, "x"]),
        (Colour.RED, "red"),
        (Pair("me", "x"), {"user": "me", "password": "x"}),
        (
            Model(user="me", password=Model(user="you", password=b"x")),
            {"user": "me", "password": {"user": "you", "password": "x"}},
        ),
        (
            Attrs("me", [Pair("you", "x")]),
            {"user": "me", "password": [{"user": "you", "password": "x"}], "masked": "***"},
        ),
        (Row(), {"user": "me", "password": "x"}),
        (Failing(), "text"),
        (Model, str(Model)),
        (MOCK, str(MOCK)),
        (Fraction(1, 3), "1/3"),
        (Scalar(), 7),
        (Single(0.5), 0.5),
        (Single(float("nan")), None),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), "2026-01-02T00:00:00+00:00"),
        (ValueError("bad"), {"type": "ValueError", "message": "bad", "stack": [], "cause": None}),
        (Unprintable(), "<Unprintable>"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_value_gets_a_json_form(value: object, expected: object) -> None:
    """What an encoder refuses is written as text, alone and inside an event's fields."""
    assert json.loads(encode({"v": value, "ok": 1})) == {"v": expected, "ok": 1}


@pytest.mark.parametrize("value", [CYCLE, TWICE, json.loads("[" * 900 + "]" * 900)], ids=["cycle", "twice", "deep"])
def test_endless_structures_end(value: object) -> None:
    """Cycles and depth are cut, and the line stays valid."""
    assert "…" in str(json.loads(encode({"v": value, "b": b""})))


@pytest.mark.parametrize(
    ("value", "expected"), [(None, b"null"), ("é", '"é"'.encode()), (7, b'"7"'), ("x" * 2000, b'"%b"' % (b"x" * 1024))]
)
def test_texts(value: object, expected: bytes) -> None:
    """Ids are text or null, whatever was passed, and of bounded length."""
    assert encode_text(value) == expected


def test_fit_cuts_the_longest_strings_first() -> None:
    """An event that is too long keeps all its fields, the long ones cut and marked."""
    data, is_cut = fit({"short": "s", "long": "x" * 300_000}, LINE_LIMIT)

    fields = json.loads(data)
    assert fields["short"] == "s"
    assert fields["long"] == "x" * 65504 + "…[234496 bytes cut]"
    assert is_cut


class Weird(dict):
    def items(self) -> object:
        raise RuntimeError


@pytest.mark.parametrize(
    "big",
    [
        {"rows": list(range(60_000))},
        {"rows": [[number] for number in range(60_000)], "more": [Decimal(1)] * 50_000},
        {f"key {number}": number for number in range(20_000)},
        {"text": "x" * 300_000, "deep": {"order": 8, "rows": list(range(90_000)), "text": "y" * 300_000}},
        {f"text {number}": "x" * 10_000 for number in range(50)},
        {"y" * 300_000: 1},
        {"weird": Weird({1: list(range(99_999))}), "exc": ExceptionGroup("x" * 99_999, [ValueError("y" * 9999)] * 99)},
    ],
    ids=lambda big: next(iter(big))[:5],
)
@pytest.mark.parametrize("room", [LINE_LIMIT, 20_000])
def test_what_is_big_is_cut_and_what_is_small_is_kept(room: int, big: dict[str, object]) -> None:
    """Wherever it stands; and the kinds of values stay."""
    data, is_cut = fit({"message": "important", **big, "order": 7, "user": {"id": 1}}, room)

    fields = json.loads(data)
    assert len(data) <= room
    assert is_cut
    assert fields["message"] == "important"
    if len(big) < 1000:
        assert (fields["order"], fields["user"]) == (7, {"id": 1})
        kinds = {"rows": list, "more": list, "deep": dict, "exc": dict, "weird": str}
        assert all(type(fields[name]) is kinds[name] for name in kinds.keys() & big)
    else:
        assert len(fields) > room // 40
        assert fields["truncated_bytes"] > 0


def test_what_is_in_a_big_object_is_fitted_likewise() -> None:
    """Its small members are kept."""
    data, _ = fit({"deep": {"order": 8, "rows": list(range(90_000)), "more": list(range(90_000))}}, 20_000)

    deep = json.loads(data)["deep"]
    assert deep["order"] == 8
    assert [text[-10:] for text in (*deep["rows"], *deep["more"])] == ["bytes cut]"] * 2


def test_depth_is_the_same_whoever_encodes() -> None:
    """As far as orjson goes; deeper it is cut, and said to be."""
    for depth, is_cut in ((253, False), (300, True)):
        value: object = 1
        for _ in range(depth):
            value = [value]
        plain, odd = fit({"v": value}, LINE_LIMIT), fit({"v": value, "odd": b""}, LINE_LIMIT)
        assert (plain.is_cut, odd.is_cut) == (is_cut, is_cut)
        assert json.loads(plain.data) == {"v": json.loads(odd.data)["v"]}
