from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest

from cipherlog_core._exc import describe, described


class Unprintable:
    def __bool__(self) -> bool:
        raise RuntimeError

    __str__ = __repr__ = __bool__


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def chained(suppress: bool) -> BaseException:
    try:
        try:
            raise KeyError("inner")
        except KeyError as error:
            if suppress:
                raise ValueError("outer") from None
            raise ValueError("outer") from error
    except ValueError as caught:
        return caught


def test_type_message_and_stack() -> None:
    """Where it was raised, the innermost frame last; no source line and no value."""
    told = describe(raised(ValueError("gone")))

    assert (told["type"], told["message"], told["cause"]) == ("ValueError", "gone", None)
    assert len(told["stack"]) == 1
    assert told["stack"][0].startswith(f"{__file__}:")
    assert told["stack"][0].endswith(" in raised")


def test_the_cause_is_the_one_that_python_shows() -> None:
    """``from error`` and while another was handled, but not ``from None``."""
    assert describe(chained(suppress=False))["cause"]["type"] == "KeyError"
    assert describe(chained(suppress=True))["cause"] is None


def test_groups_cycles_and_depth_end() -> None:
    """A group holds its exceptions; a chain that bites its tail, or has no end in sight, is cut."""
    group = describe(ExceptionGroup("many", [ValueError("a"), KeyError("b")]))
    assert [inner["type"] for inner in group["exceptions"]] == ["ValueError", "KeyError"]
    a, b = ValueError("a"), ValueError("b")
    a.__cause__, b.__cause__ = b, a
    assert describe(a)["cause"]["cause"] is None
    chain = ValueError("first")
    for _ in range(20):
        chain, chain.__cause__ = ValueError("next"), chain
    depth, told = 0, describe(chain)
    while told:
        depth, told = depth + 1, told["cause"]

    assert depth == 9


def test_what_all_of_a_group_have_in_common_is_told_once() -> None:
    """16 errors of a retry, each raised while the group of the try before was handled: 32 in all, not 16 times 16."""
    before = ExceptionGroup("first", [ValueError(number) for number in range(16)])
    errors = [KeyError(number) for number in range(16)]
    for error in errors:
        error.__context__ = before
    told = describe(ExceptionGroup("second", [*errors[:15], ExceptionGroup("same", errors[:1] * 2)]))

    assert [inner["cause"] is None for inner in told["exceptions"]] == [False] + [True] * 15
    assert len(told["exceptions"][0]["cause"]["exceptions"]) == 16
    assert [inner["type"] for inner in told["exceptions"][15]["exceptions"]] == ["KeyError"] * 2


def test_an_exception_that_cannot_be_printed() -> None:
    """It has a type all the same, with its module."""

    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    told = describe(Odd())
    assert told["message"] == "<no message>"
    assert told["type"].startswith("test_exc.")


@pytest.mark.parametrize("name", ["__cause__", "__context__", "__suppress_context__", "__traceback__", "__notes__"])
@pytest.mark.parametrize("odd", [lambda _: 1 / 0, lambda _: Unprintable()], ids=["raises", "of another kind"])
def test_a_property_that_fails_costs_only_what_it_would_say(name: str, odd: Callable[[object], object]) -> None:
    """Type and message are told, whatever a class has put in place of what exceptions have."""
    told = describe(raised(type("Odd", (ValueError,), {name: property(odd, lambda *_: None)})("gone")))

    assert (told["type"], told["message"], told["cause"]) == ("test_exc.Odd", "gone", None)
    assert "notes" not in told


def test_a_deep_stack_keeps_its_inner_end() -> None:
    """64 frames."""

    def recurse(depth: int) -> None:
        if not depth:
            raise ValueError("deep")
        recurse(depth - 1)

    try:
        recurse(200)
    except ValueError as error:
        told = describe(error)

    assert len(told["stack"]) == 64
    assert all("recurse" in frame for frame in told["stack"])


def test_notes() -> None:
    """Of `add_note`, where there are any; whatever else somebody put there is left out."""
    error = ValueError("x")
    error.add_note("seen at night")
    assert describe(error)["notes"] == ["seen at night"]
    error.__notes__ = 5
    assert "notes" not in describe(error)


def test_an_exception_of_which_only_the_text_is_left() -> None:
    """Type and message are in its last line, the rest is the stack."""
    text = "".join(traceback.format_exception(raised(ValueError("bad: order"))))
    told = described(text)

    assert (told["type"], told["message"], told["cause"]) == ("ValueError", "bad: order", None)
    assert told["stack"] == text.splitlines()[:-1]
