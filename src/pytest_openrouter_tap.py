"""The pytest plugin. It is loaded in each run of its users, so it imports nothing until a test asks for a fixture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from openrouter_tap.testing import Events, FakeOpenRouter

_SWITCHES = "OPENROUTER_TAP", "OTEL_SDK_DISABLED"
_FAKE: pytest.StashKey[FakeOpenRouter] = pytest.StashKey()


@pytest.fixture
def openrouter(request: pytest.FixtureRequest, openrouter_events: Events) -> Iterator[FakeOpenRouter]:  # noqa: ARG001
    """A fake OpenRouter: ``httpx.Client(transport=TappedTransport(httpx.MockTransport(openrouter)))``.

    A request for which it has no reply, and a reply for which there was no request, fail the test. As with
    ``openrouter_events``, the taps of the test are on, and no event goes to a file.
    """
    from openrouter_tap.testing import FakeOpenRouter

    fake = FakeOpenRouter()
    request.node.stash[_FAKE] = fake
    yield fake
    fake.check()


@pytest.fixture
def openrouter_events() -> Iterator[Events]:
    """The events of all calls that the test makes through a tap; none of them goes to a file.

    Taps that are made from here on are on: what would switch them off is not in the environment until the test ends.
    """
    from openrouter_tap.testing import recorded

    with pytest.MonkeyPatch.context() as patch, recorded() as events:
        for name in _SWITCHES:
            patch.delenv(name, raising=False)
        yield events


@pytest.hookimpl(trylast=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Have a test that would pass fail itself, rather than its teardown."""
    if message := _checked(item):
        pytest.fail(message, pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Add what was not expected to what a test fails with: it may be the reason."""
    if call.when == "call" and call.excinfo is not None and (message := _checked(item)):
        call.excinfo.value.add_note(message)


def _checked(item: pytest.Item) -> str | None:
    """What is wrong with the requests of a test."""
    fake = item.stash.get(_FAKE, None)
    try:
        if fake is not None:
            fake.check()
    except AssertionError as error:
        return str(error)
    return None
