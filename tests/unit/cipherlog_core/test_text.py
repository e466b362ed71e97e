from __future__ import annotations

import pytest

from cipherlog_core._encode import LINE_LIMIT
from cipherlog_core._text import text_line

TS = "2026-11-24T05:56:03.123456Z"


def line(event: str = "event", **fields: object) -> str:
    return text_line(TS, "INFO", "app", event, fields)[0].decode()


def test_a_line_for_people() -> None:
    """Time, level, logger, event, and the fields that are known; quotes only where a value needs them."""
    found = line("tool_called", tool="search", query="two words", ms=12.5, none=None, list=[1, 2], text="")

    assert found == f'{TS} INFO     app tool_called tool=search query="two words" ms=12.5 list=[1,2] text=""\n'


def test_a_message_stands_in_place_of_the_event() -> None:
    """In the records of `logging`; other events keep their name."""
    assert line("log", message="it works", port=80) == f"{TS} INFO     app it works port=80\n"
    assert line("failed", message="no host", port=80) == f'{TS} INFO     app failed message="no host" port=80\n'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("a\r\tb", r"a\r\tb"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x00\x7f\x85\x9b", r"\x00\x7f\x85\x9b"),
        ("\u202eevil\u2066", r"\u202eevil\u2066"),
        ("\u2028\u2029\u200f\ufeff", r"\u2028\u2029\u200f\ufeff"),
        ("\ud800", r"\ud800"),
        ("\u180e\U000e0001\U000e007f", r"\u180e\U000e0001\U000e007f"),
        ("ünï 中 🎉", "ünï 中 🎉"),
    ],
)
def test_nothing_is_hidden_and_nothing_breaks_a_line(text: str, shown: str) -> None:
    """Control characters, escape sequences and marks of direction, in message, value and name."""
    found = line("log", message=text, value=f"x {text}", **{f"name {text}": 1})

    assert found.endswith("\n")
    found = found[:-1]
    assert found.splitlines() == [found]
    assert f"app {shown} " in found
    assert not {character for character in text if not character.isprintable()} & set(found)


def test_an_exception_follows_on_lines_of_its_own() -> None:
    """Indented, so that no message can pass for one."""
    cause = {"type": "KeyError", "message": "'k'", "stack": ["b.py:2 in g"], "cause": None}
    exc = {"type": "ValueError", "message": "bad\nvalue", "stack": ["a.py:1 in f"], "cause": cause}

    assert line("log", message="failed", exc=exc).splitlines()[1:] == [
        r"    ValueError: bad\nvalue",
        "      at a.py:1 in f",
        "    caused by KeyError: 'k'",
        "      at b.py:2 in g",
    ]


def test_a_long_text_is_cut() -> None:
    """And it is said that it was."""
    data, is_cut = text_line(TS, "INFO", "app", "event", {"text": "\x1b" * 300_000, "short": 1})

    assert is_cut
    assert len(data) < LINE_LIMIT
    assert b"bytes cut]" in data
    assert data.endswith(b" short=1\n")


def test_the_name_of_a_field_cannot_pass_for_other_facts() -> None:
    """It is quoted where a value would be."""
    assert line("e", **{"user level=ERROR admin": 1, "ok": 2}).endswith(' e "user level=ERROR admin"=1 ok=2\n')


def test_what_json_has_the_text_has() -> None:
    """The exceptions of a group, notes, and an ``exc`` that is no exception; in logger and event too nothing breaks."""
    inner = [{"type": "KeyError", "message": "1", "stack": ["b.py:2 in g"], "cause": None}, "…[9 bytes cut]"]
    exc = {"type": "ExceptionGroup", "message": "m", "stack": [], "cause": None, "notes": ["n\nn"], "exceptions": inner}

    assert line("log", exc=exc).splitlines()[1:] == [
        "    ExceptionGroup: m",
        r"      note: n\nn",
        "    within it KeyError: 1",
        "      at b.py:2 in g",
        "    …[9 bytes cut]",
    ]
    assert line("e", exc="mine").endswith(" e exc=mine\n")
    assert line("\ud800x").endswith(" app \\ud800x\n")
