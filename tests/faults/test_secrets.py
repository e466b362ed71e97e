"""Secrets in whatever is logged: none is in any file, nor on the console; what is no secret stays as it is."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from urllib.parse import quote

import pytest
from conftest import Logs, checked, content
from faulty_server import faulty_server

import cipherlog_core
from cipherlog_core._rotation import segments
from openrouter_tap import CallEvent, TapOptions, TappedTransport
from secret import FORMS, KINDS, QUOTED

SEED = 20261121
PLACES = [
    "header",
    "URL",
    "body",
    "error body",
    "exception chain",
    "message",
    "extra",
    "field",
    "object",
    "name",
    "thread",
    "bound context",
    "tag",
]
KNOWN = {
    "known": "q7Opaque.token~22/with+more=",
    "known api key": "0f9c77aa51e04d6b9d1f8a36c2b7e5d4",
    "ACME_API_KEY": "Zq9 pÄ'w\"rd/+=&%x~17",
    "SERVICE_SECRET": "correct horse battery staple",
    "MY_TOKEN": "e83Bd0Ff1c5aB9e7",
}
ALIKE = 12
"""Characters in a row of a secret that are one too."""


class Case(NamedTuple):
    """A text that has a secret in it, where it goes, and the pieces of the secret that are looked for."""

    kind: str
    form: str
    place: str
    text: str
    pieces: tuple[bytes, ...]


def grid(step: int) -> list[Case]:
    """Secrets of each kind in each form, each time another one, in each place or in one of *step*."""
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    drawn = [
        Case(kind, form, place, make(secret.text), _ends(secret.hidden))
        for kind, draw in KINDS.items()
        for form, make in FORMS.items()
        for place in PLACES
        for secret in [draw(rng)]
    ]
    known = [
        Case(name, form, place, f"<{make(value)}>", _ends(make(value).strip("'\"")))
        for name, value in KNOWN.items()
        for form, make in QUOTED.items()
        for place in PLACES
    ]
    return [*drawn[rng.randrange(step) :: step], *known[rng.randrange(step) :: step]]


def _ends(hidden: str) -> tuple[bytes, ...]:
    """The first and the last characters of *hidden*, as they are, in JSON and in a URL."""
    ends = [hidden[:ALIKE], hidden[-ALIKE:]] if len(hidden) > ALIKE else [hidden]
    written = (str, lambda end: json.dumps(end, ensure_ascii=False)[1:-1], quote, lambda end: quote(end, safe=""))
    return tuple({write(end).encode() for end in ends for write in written})


class Left(NamedTuple):
    """All bytes that a program has left behind."""

    data: bytes
    folder: Path

    def leaks(self, cases: list[Case]) -> set[tuple[str, str, str]]:
        return {
            (case.kind, case.form, case.place) for case in cases if any(piece in self.data for piece in case.pieces)
        }


def left_behind(folder: Path, cases: list[Case], net: str = "ON", **settings: str) -> Left:
    """Run the program; its logs, compressed or not, its spool and its console."""
    first = [(place, KNOWN[place]) for place in ("known", "known api key")]
    lines = [json.dumps([*case]) for case in [*first, *((case.place, case.text) for case in cases)]]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LOG_")},
        **{name: value for name, value in KNOWN.items() if name.isupper()},
        "LOG_DIR": str(folder),
        "LOG_CONSOLE": "stderr",
        "LOG_ROTATE_SIZE": "300KB",
        "LOG_BACKUPS": "0",
        "LOG_GZIP_AFTER": "0",
        "PYTHONIOENCODING": "utf-8",
        **settings,
    }
    program = str(Path(__file__).with_name("secretive.py"))
    ended = subprocess.run(
        [sys.executable, program, net],
        input="\n".join(lines).encode(),
        env=environment,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:].decode()
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    contents = [gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in files]
    return Left(b"\n".join([ended.stdout, ended.stderr, *contents]), folder)


SETTINGS = [{"LOG_LEVEL": "INFO"}, {"LOG_LEVEL": "DEBUG"}, {"LOG_JSON": "false", "LOG_LEVEL": "DEBUG"}]
GRID = [
    pytest.param(settings, step, marks=[pytest.mark.soak] if step == 1 else [], id=f"{name}-{step}")
    for step in (9, 1)
    for name, settings in zip(("INFO", "DEBUG", "text"), SETTINGS, strict=True)
]


@pytest.mark.parametrize(("settings", "step"), GRID)
def test_no_secret_is_left_behind(tmp_path: Path, settings: dict[str, str], step: int) -> None:
    """Kinds known by their shape and the program's own keys, in their forms and places: 0 in file or console."""
    cases = grid(step)
    left = left_behind(tmp_path, cases, **settings)

    assert left.leaks(cases) == set()
    assert left.data.count(b"[redacted]") > len(cases)
    for path in segments(str(tmp_path), "app.jsonl"):
        for line in content(path).splitlines():
            checked(line)


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.soak)])
def test_without_the_net_all_of_them_leak(tmp_path: Path, step: int) -> None:
    """The same search finds each when nothing is taken out: none is missed for its place, form or length."""
    cases = grid(step)
    left = left_behind(tmp_path, cases, "OFF", LOG_LEVEL="DEBUG")

    assert left.leaks(cases) == {(case.kind, case.form, case.place) for case in cases}


@pytest.mark.parametrize("query", ["key=abcd1234", f"api_key={KNOWN['MY_TOKEN']}"])
def test_the_line_in_which_the_library_logs_a_url(logs: Logs, library: ModuleType, query: str) -> None:
    """httpx and httpx2 log each URL at INFO, whole: the bridge writes their line without the key in it."""
    cipherlog_core.start("app")
    with faulty_server() as server, library.Client(transport=TappedTransport()) as client:
        assert client.get(f"{server.origin}/json/models?{query}&page=2").is_success
    said = [record["fields"]["message"] for record in logs.read("app") if record["logger"] == library.__name__]

    name = query.partition("=")[0]
    assert said == [f'HTTP Request: GET {server.origin}/json/models?{name}=[redacted]&page=2 "HTTP/1.1 200 OK"']


def test_a_key_that_only_a_request_has_told(logs: Logs, library: ModuleType, events: list[CallEvent]) -> None:
    """From the first request on its Authorization is known, whatever its shape; one that fails tells it too."""
    key = "opaque~0123456789"
    app = cipherlog_core.start("app")
    with faulty_server() as server:
        options = TapOptions(hosts=[server.origin.removeprefix("http://")], on_event=events.append)
        with library.Client(transport=TappedTransport(options=options)) as client:
            url = f"{server.origin}/gone/api/v1/chat/completions"
            with pytest.raises(library.RemoteProtocolError):
                client.post(url, json={"model": key}, headers={"Authorization": f"Token {key}"})
    app.event("used", by=key)

    assert [event.request_model for event in events] == ["[redacted]"]
    assert [record["fields"] for record in logs.read("app") if record["event"] == "used"] == [{"by": "[redacted]"}]
    assert key not in "".join(map(str, logs.read()))


def test_a_generation_id_that_holds_a_key(logs: Logs, library: ModuleType, events: list[CallEvent]) -> None:
    """A gateway may call its replies as it likes: only ids in OpenRouter's own form go unlooked."""
    key = "sk-or-v1-" + "0123456789abcdef" * 4
    replies = iter([f"gen-{key}", f"gen-1764000000-{key}", "gen-1764000000-0123456789abcdef0123"])
    inner = library.MockTransport(lambda _: library.Response(200, json={"id": next(replies), "usage": {}}))
    with library.Client(transport=TappedTransport(inner, options=TapOptions(on_event=events.append))) as client:
        for _ in range(3):
            client.post("https://openrouter.ai/api/v1/chat/completions", json={})

    ids = [event.generation_id for event in events]
    assert ids == ["gen-[redacted]", "gen-1764000000-[redacted]", "gen-1764000000-0123456789abcdef0123"]
    assert key not in "".join(map(str, logs.read()))
