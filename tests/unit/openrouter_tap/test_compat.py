from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from openrouter_tap._compat import LIBRARIES, default_transport, one_header, reply_headers, request_body

CALL = """
import json, sys
{before}
import {library}
from openrouter_tap import TappedTransport
from openrouter_tap._compat import LIBRARIES
reply = {library}.Response(200, json={{"model": "m", "usage": {{"cost": 0.5}}}})
with {library}.Client(transport=TappedTransport({library}.MockTransport(lambda _: reply))) as client:
    assert client.post("https://openrouter.ai/api/v1/chat/completions", json={{}}).status_code == 200
print(len(LIBRARIES))
"""


def run(code: str, folder: Path) -> str:
    environment = {**os.environ, "LOG_DIR": str(folder)}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("before", "library", "count"),
    [
        ("sys.modules['httpx2'] = None", "httpx", 1),
        ("", "httpx", 2),
        ("", "httpx2", 2),
        ("import httpx2; httpx2.alias_httpx()", "httpx", 1),
    ],
    ids=["httpx alone", "httpx of both", "httpx2 of both", "aliased"],
)
def test_whichever_libraries_are_there(before: str, library: str, count: int, tmp_path: Path) -> None:
    """One library, both, or one that stands for the other: the call is recorded."""
    assert run(CALL.format(before=before, library=library), tmp_path) == f"{count}\n"
    assert (tmp_path / "openrouter-costs.jsonl").read_text().count('"total":0.5') == 1


def test_without_the_extras_the_tap_works_and_the_command_says_what_it_needs(tmp_path: Path) -> None:
    """Nothing of the command, the report or the look-alike is needed for a call."""
    hide = "import sys\nfor name in ('click', 'rich', 'duckdb', 'starlette', 'uvicorn'): sys.modules[name] = None\n"

    assert run(hide + CALL.format(before="", library="httpx"), tmp_path) == "2\n"
    assert "pip install 'openrouter-tap[cli]'" in run(
        f"{hide}import openrouter_tap.cli; openrouter_tap.cli.main()", tmp_path
    )


@pytest.mark.parametrize(
    ("hidden", "command", "extra"),
    [
        ("rich", "doctor", "cli"),
        ("starlette", "demo", "all"),
        ("uvicorn", "simulate", "all"),
        ("urllib3", "ship", "otlp"),
    ],
)
def test_what_an_extra_is_missing_for_is_no_verdict(hidden: str, command: str, extra: str, tmp_path: Path) -> None:
    """Exit code 2: with 1 a check would say that something is wrong with the logs."""
    code = f"import sys; sys.modules[{hidden!r}] = None; from openrouter_tap.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(rf"{hidden}[.a-z]* is missing", done.stderr)
    assert f"pip install 'openrouter-tap[{extra}]'" in done.stderr


def test_headers_and_bodies(library: ModuleType) -> None:
    """By their lower-case names, as bytes; a body that is no bytes in memory is none."""
    headers = library.Headers([("X-Generation-Id", "gen-1"), ("Content-Type", "a"), ("Content-Type", "b")])

    assert reply_headers(headers) == (b"a", None, False)
    assert reply_headers(library.Headers({"X-Request-Id": "2", "Request-Id": "1"})) == (b"", b"1", False)
    assert reply_headers(library.Headers({"Content-Encoding": "br"})) == (b"", None, True)
    assert [one_header(headers, name) for name in (b"x-generation-id", b"cf-ray")] == [b"gen-1", None]
    assert request_body(library.Request("POST", "http://x", content=b"body")) == b"body"
    assert request_body(library.Request("POST", "http://x", content=iter([b"body"]))) is None


def test_headers_without_the_private_list(library: ModuleType) -> None:
    """A version of the library that keeps its headers otherwise costs time and nothing else."""

    class Other:
        raw = library.Headers(
            [("CF-RAY", "1"), ("X-Request-Id", "2"), ("Content-Type", "a"), ("Content-Encoding", "gzip")]
        ).raw

    assert reply_headers(Other()) == (b"a", b"2", True)
    assert one_header(Other(), b"cf-ray") == b"1"


def test_each_library_gets_its_own_transport(library: ModuleType) -> None:
    """What the client would have made for itself."""
    request = library.Request("GET", "http://x")

    assert isinstance(default_transport(request, is_async=False), library.HTTPTransport)
    assert isinstance(default_transport(request, is_async=True), library.AsyncHTTPTransport)
    assert len(LIBRARIES) == 2


def test_a_request_of_no_library_is_refused() -> None:
    """With a word on what it was."""
    with pytest.raises(TypeError, match="neither httpx nor httpx2"):
        default_transport(object(), is_async=False)
