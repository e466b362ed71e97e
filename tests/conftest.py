from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import fastjsonschema
import pytest
import trustme

import cipherlog_core.schemas
import openrouter_tap.schemas
from cipherlog_core._pipeline import PIPELINE
from cipherlog_core._rotation import segments
from openrouter_tap import CallEvent
from openrouter_tap._compat import LIBRARIES


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with one certificate: to load the 120 that a client trusts by default takes 20 ms, for each client."""
    path = tmp_path_factory.mktemp("authority") / "authority.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(autouse=True)
def clean_environment(authority: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on what the shell happens to have set."""
    monkeypatch.setenv("SSL_CERT_FILE", authority)
    for name in list(os.environ):
        if name.startswith(("LOG_", "OPENROUTER_", "OTEL_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def delete(folder: Path) -> None:
    """As ``rm -rf``, and again where a writer made a file meanwhile."""
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
    raise AssertionError(f"{folder} comes back")


def content(path: str) -> bytes:
    """The bytes of a log file, compressed or not."""
    data = Path(path).read_bytes()
    return gzip.decompress(data) if path.endswith(".gz") else data


def validators() -> dict[str, Callable[[object], object]]:
    """What checks a line against the schema of its event, as the packages ship it."""
    compiled = {}
    for package in (cipherlog_core.schemas, openrouter_tap.schemas):
        for path in Path(package.__file__).parent.glob("*.schema.json"):
            compiled[path.name.removesuffix(".schema.json")] = fastjsonschema.compile(json.loads(path.read_text()))
    return compiled


VALIDATE = validators()


def refuse(constant: str) -> None:
    raise ValueError(constant)


DECODE = json.JSONDecoder(parse_constant=refuse).decode


def checked(line: bytes) -> dict[str, Any]:
    """The record in *line*, which is strict JSON of its event's schema, without a key that is none of ours."""
    assert len(line) < 1 << 18
    record = DECODE(line.decode())
    VALIDATE.get(record["event"], VALIDATE["record"])(record)
    assert len(record) == 13
    return record


NOTICES = {("log", "cipherlog_core"), ("log", "openrouter_tap")}


class Logs:
    """The log folder of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, stem: str = "openrouter-costs") -> list[dict[str, Any]]:
        """The records of all files of the log but our own notices, oldest first, when everything is written."""
        assert cipherlog_core.flush()
        lines = [line for path in segments(str(self.folder), f"{stem}.jsonl") for line in content(path).split(b"\n")]
        records = [checked(line) for line in lines if line]
        return [record for record in records if (record["event"], record["logger"]) not in NOTICES]


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Logs]:
    """A folder that all logs of the test go to, whatever tests before it have opened and with which settings."""
    assert cipherlog_core.stop()
    monkeypatch.setattr(PIPELINE, "_default", None)
    monkeypatch.setattr(PIPELINE, "_chosen", {})
    monkeypatch.setenv("LOG_DIR", str(tmp_path / "logs"))
    yield Logs(tmp_path / "logs")
    assert cipherlog_core.stop()


@pytest.fixture(params=LIBRARIES, ids=lambda library: library.__name__)
def library(request: pytest.FixtureRequest) -> ModuleType:
    """Either httpx or httpx2."""
    return request.param


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def events() -> list[CallEvent]:
    """For ``TapOptions(on_event=events.append)``."""
    return []
