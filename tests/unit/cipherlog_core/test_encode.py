from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import uuid
from decimal import Decimal

import pytest

from cipherlog_core._encode import LINE_LIMIT, encode, encode_text, fit


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@dataclasses.dataclass
class Point:
    x: int
    y: object


class Colour(enum.Enum):
    RED = "red"


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
    assert fields["long"] == "x" * 65536 + "…[234464 bytes cut]"
    assert is_cut


def test_fit_leaves_all_out_in_the_end() -> None:
    """What no cut makes short enough is replaced by its size."""
    fields = {f"key {number}": number for number in range(9999)}
    size = len(json.dumps(fields, separators=(",", ":")))

    assert json.loads(fit(fields, 1000).data) == {"truncated_bytes": size}
