"""Either library alone, both, and httpx2 under httpx's name: each in a process of its own, over loopback HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from openrouter_tap.simulator import running

HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

HIDDEN = set(sys.argv[2].split(",")) - {""}
sys.meta_path.insert(0, Hidden())
"""
CALLS = """
import asyncio, importlib
from openrouter_tap import *
from openrouter_tap import _compat

async def main(origin, names):
    events = []
    options = TapOptions(hosts=("127.0.0.1",), on_event=events.append)
    call = {"url": f"{origin}/api/v1/chat/completions", "json": {"model": "openai/gpt-4o-mini", "messages": []}}
    call["headers"] = {"Authorization": "Bearer none"}
    for library in map(importlib.import_module, names):
        for given in ({"transport": TappedTransport(options=options)}, {"event_hooks": event_hooks(options=options)}):
            with library.Client(**given) as client:
                client.post(**call)
        with tap_client(library.Client(), options=options) as client:
            client.post(**call)
        hooks = async_event_hooks(options=options)
        for given in ({"transport": TappedTransport(options=options)}, {"event_hooks": hooks}):
            async with library.AsyncClient(**given) as client:
                await client.post(**call)
        async with tap_client(library.AsyncClient(), options=options) as client:
            await client.post(**call)
        instrument(options=options)
        library.post(**call)
        uninstrument()
        library.post(**call)
    assert all(event.cost.total and event.outcome == "completed" for event in events), events
    print(*(library.__name__ for library in _compat.LIBRARIES), len(events))

asyncio.run(main(sys.argv[1], sys.argv[3:]))
"""
ALIAS = "import httpx2; httpx2.alias_httpx()\n"


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with running() as origin:
        yield origin


def run(code: str, folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", "-c", HIDE + code, *arguments]
    environment = {**os.environ, "LOG_DIR": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("before", "hidden", "used", "found"),
    [
        ("", "httpx2,httpcore2", "httpx", "httpx 7"),
        ("", "httpx,httpcore", "httpx2", "httpx2 7"),
        ("", "", "httpx httpx2", "httpx httpx2 14"),
        (ALIAS, "", "httpx httpx2", "httpx2 14"),
        (ALIAS, "httpx,httpcore", "httpx httpx2", "httpx2 14"),
        ("import openrouter_tap\n" + ALIAS, "httpx,httpcore", "httpx httpx2", "httpx2 14"),
    ],
    ids=["httpx alone", "httpx2 alone", "both", "aliased", "aliased, httpx2 alone", "aliased behind the import"],
)
def test_every_door_with(before: str, hidden: str, used: str, found: str, origin: str, tmp_path: Path) -> None:
    """Seven calls a library, by each door to both clients, leave an event each; the eighth is not tapped any more."""
    assert run(before + CALLS, tmp_path, origin, hidden, *used.split()) == f"{found}\n"
    lines = (tmp_path / "openrouter-costs.jsonl").read_text().count("\n")
    assert lines == int(found.rpartition(" ")[2])


def test_an_alias_behind_the_import_with_both(origin: str, tmp_path: Path) -> None:
    """httpx2 refuses to stand for an httpx that is imported; both go on being tapped."""
    code = f"import openrouter_tap, httpx2\ntry: httpx2.alias_httpx()\nexcept RuntimeError as e: print(e)\n{CALLS}"

    refusal, found = run(code, tmp_path, origin, "", "httpx", "httpx2").splitlines()
    assert "already imported" in refusal
    assert found == "httpx httpx2 14"


def test_neither(tmp_path: Path) -> None:
    """The import says what is missing."""
    told = run("import openrouter_tap", tmp_path, "", "httpx,httpx2,httpcore,httpcore2")

    assert told.endswith("ModuleNotFoundError: openrouter_tap needs httpx or httpx2: pip install httpx\n")


@pytest.mark.parametrize("hidden", ["idna", "httpx,idna"], ids=["httpx", "httpx2"])
def test_a_library_that_lacks_what_it_needs(hidden: str, tmp_path: Path) -> None:
    """Is broken and not absent: its own error, not silence."""
    assert run("import openrouter_tap", tmp_path, "", hidden).endswith("No module named 'idna'\n")
