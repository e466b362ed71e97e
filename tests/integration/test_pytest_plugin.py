"""The pytest plugin as its users have it: loaded by its entry point, in runs of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

HEAD = """
import httpx
import httpx2
import pytest
from openrouter_tap import TapOptions, TappedTransport, instrument, tap_client, uninstrument
from openrouter_tap.testing import assert_cost_below, assert_no_secrets

ASKED = {"url": "https://openrouter.ai/api/v1/chat/completions", "json": {"model": "maker/model", "messages": []}}
REPLY = {"id": "gen-1", "model": "maker/model", "choices": [], "usage": {"cost": 0.25}}


def client(openrouter, library=httpx):
    return library.Client(transport=TappedTransport(library.MockTransport(openrouter)))
"""


def run(pytester: pytest.Pytester, tests: str) -> pytest.RunResult:
    """The result of a run of *tests*, with warnings as errors."""
    pytester.makepyfile(HEAD + tests)
    return pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider", timeout=120)


PROGRAM = """
def summarise(text, client):
    while (reply := client.post("https://openrouter.ai/api/v1/chat/completions", json={"messages": [text]})).is_error:
        pass
    return reply.json()["choices"][0]["message"]["content"]
"""


BESIDE = """
import respx

def test_respx(respx_mock, openrouter_events):
    respx_mock.post(ASKED["url"]).respond(json=REPLY)
    with tap_client(httpx.Client()) as http:
        assert http.post(**ASKED).json() == REPLY
    assert [event.cost.total for event in openrouter_events] == [0.25]

def test_pytest_httpx(httpx_mock, openrouter_events):
    httpx_mock.add_response(json=REPLY)
    with httpx.Client(transport=TappedTransport()) as http:
        assert http.post(**ASKED).json() == REPLY
    assert [event.cost.total for event in openrouter_events] == [0.25]

def test_instrumented(httpx_mock, openrouter_events):
    httpx_mock.add_response(json=REPLY)
    instrument()
    try:
        with httpx.Client() as http:
            http.post(**ASKED)
    finally:
        uninstrument()
    assert [event.cost.total for event in openrouter_events] == [0.25]

@pytest.mark.parametrize("fixture", ["respx_mock", "httpx_mock"])
def test_with_the_fake(fixture, request, openrouter, openrouter_events):
    mock = request.getfixturevalue(fixture)
    if fixture == "respx_mock":
        mock.get("https://example.org").respond(204)
    else:
        mock.add_response(url="https://example.org", status_code=204)
    openrouter.reply(cost="0.5")
    with httpx.Client() as other, client(openrouter) as http:
        assert other.get("https://example.org").status_code == 204
        assert http.post(**ASKED).status_code == 200
    assert [event.cost.total for event in openrouter_events] == [0.5]
"""


def test_what_passes(pytester: pytest.Pytester) -> None:
    """Both fixtures, both libraries in one test, and no file; the example of the documentation; respx and pytest-httpx.

    Their mocks answer and the tap meters, and the fake does for one client what they do for another.
    """
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "testing.md").read_text()
    (example,) = re.findall(r"```python\n(import httpx\n.*?def test_summary.*?)```", page, re.DOTALL)
    pytester.makepyfile(my_program=PROGRAM, test_of_the_docs=f"import my_program\n{example}")
    result = run(
        pytester,
        """
import os

@pytest.mark.parametrize("library", [httpx, httpx2])
def test_cost(library, openrouter, openrouter_events):
    openrouter.reply("Hello.", cost="0.002")
    openrouter.error(429)
    with client(openrouter, library) as http:
        assert http.post(**ASKED).json()["choices"][0]["message"]["content"] == "Hello."
        assert http.post(**ASKED).status_code == 429
    assert [event.outcome for event in openrouter_events] == ["completed", "http_error"]
    assert_cost_below(openrouter_events, "0.01", allow_unknown=True)
    assert_no_secrets(openrouter_events, "maker/secret")
    assert not os.path.exists("logs")

def test_not_strict(openrouter):
    openrouter.is_strict = False
    openrouter.reply()

def test_skipped(openrouter):
    openrouter.reply()
    pytest.skip("in its middle")

@pytest.mark.xfail(strict=True)
def test_expected_to_fail(openrouter):
    client(openrouter).post(**ASKED)
"""
        + BESIDE,
    )

    result.assert_outcomes(passed=9, skipped=1, xfailed=1)


def test_what_fails(pytester: pytest.Pytester) -> None:
    """The tests themselves fail and not their teardown, each with a message that says what to do."""
    result = run(
        pytester,
        """
def test_unexpected(openrouter):
    client(openrouter).post(**ASKED)

def test_unexpected_and_hidden(openrouter):
    try:
        client(openrouter).post(**ASKED)
    except Exception:
        pass

def test_unexpected_and_disguised(openrouter):
    try:
        client(openrouter).post(**ASKED)
    except Exception:
        raise KeyError("Connection error") from None

def test_not_consumed(openrouter):
    openrouter.reply("Never asked.")

def test_dear(openrouter, openrouter_events):
    openrouter.reply(cost=3)
    client(openrouter).post(**ASKED)
    assert_cost_below(openrouter_events, 1)

def test_clean_again(openrouter):
    openrouter.reply()
    client(openrouter).post(**ASKED)
""",
    )

    result.assert_outcomes(failed=5, passed=1)
    told = result.stdout.str()
    assert told.count("POST https://openrouter.ai/api/v1/chat/completions reached the fake OpenRouter") >= 3
    assert "1 replies of the fake OpenRouter were never asked for: a reply of 'Never asked.'" in told
    assert "1 calls cost 3.0 USD, which is not below 1" in told
    disguised = told.partition("_ test_unexpected_and_disguised _")[2].partition("_ test_not_consumed _")[0]
    assert "has no reply for it" in disguised


@pytest.mark.parametrize(("variable", "text"), [("OPENROUTER_TAP", "off"), ("OTEL_SDK_DISABLED", "true")])
def test_either_fixture_has_the_taps_on_and_keeps_events_out_of_files(
    variable: str, text: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment says, which is as before when the test has ended."""
    monkeypatch.setenv(variable, text)
    result = run(
        pytester,
        f"""
import os, cipherlog_core

told = []

def test_the_fake_alone(openrouter):
    openrouter.reply()
    options = TapOptions(on_event=told.append)
    with httpx.Client(transport=TappedTransport(httpx.MockTransport(openrouter), options=options)) as http:
        http.post(**ASKED)
    assert [event.outcome for event in told] == ["completed"]

def test_the_events_alone(openrouter_events):
    with client(lambda _: httpx.Response(200, json=REPLY)) as http:
        http.post(**ASKED)
    assert [event.cost.total for event in openrouter_events] == [0.25]

def test_afterwards():
    assert os.environ["{variable}"] == "{text}"
    assert cipherlog_core.flush()
    assert not os.path.exists("logs")
""",
    )

    result.assert_outcomes(passed=3)


def test_the_plugin_is_light() -> None:
    """A run of somebody who does not use it loads nothing but the one small module."""
    script = (
        "import sys, pytest; before = set(sys.modules); import pytest_openrouter_tap;"
        "print(sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)

    assert loaded.stdout.strip() == "['pytest_openrouter_tap']"


def test_the_fake_needs_no_extra() -> None:
    """Nor pytest: it answers where no server can be imported."""
    script = (
        "import sys; sys.modules.update(dict.fromkeys(['starlette', 'uvicorn', 'pytest', 'click', 'httpx2']));"
        "import httpx; from openrouter_tap.testing import FakeOpenRouter; fake = FakeOpenRouter(); fake.reply('Hi.');"
        "client = httpx.Client(transport=httpx.MockTransport(fake));"
        "print(client.post('https://openrouter.ai/api/v1/responses', json={}).json()['status'])"
    )
    told = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60)

    assert (told.stdout.strip(), told.stderr) == ("completed", "")
