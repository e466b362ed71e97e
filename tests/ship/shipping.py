"""Fixtures of the shipper's tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cipherlog_core._folders import Folders
from cipherlog_core.ship import _shipper
from cipherlog_core.ship._options import destinations
from cipherlog_core.ship._shipper import Shipper
from receiver import Receiver

Told = list[tuple[str, str]]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


@pytest.fixture
def told() -> Told:
    """What the shipper told: kind, message."""
    return []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log folder of lines that the test writes."""
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


@pytest.fixture
def ship(receiver: Receiver, told: Told, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Shipper]:
    """Ships all that is in the folder, with hardly any pause between tries, and returns the shipper."""
    monkeypatch.setattr(_shipper, "_BACK_OFF", (0.01, 0.05))

    def do(environ: dict[str, str] | None = None, *, patience: float | None = None) -> Shipper:
        shipper = Shipper(
            Folders.of(str(folder)),
            destinations(environ or {}, receiver.url),
            {},
            lambda *said: told.append(said),
        )
        shipper.run(once=True, patience=patience)
        return shipper

    return do


def line(number: int, **keys: Any) -> bytes:
    """A record of a log as the logger writes it."""
    record = {
        "schema": 1,
        "id": f"{number:016d}0123456789abc",
        "ts": f"2026-11-24T07:18:49.{number:06d}Z",
        "level": "INFO",
        "logger": "app",
        "pid": 7,
        "server": "app",
        "event": "numbered",
        "thread": "MainThread",
        "tool": None,
        "session_id": None,
        "request_id": None,
        "fields": {"seq": number},
        **keys,
    }
    return json.dumps(record).encode() + b"\n"


def numbers(receiver: Receiver) -> list[int]:
    """The numbers of the records that arrived, in the order in which they did."""
    return [record["seq"] for record in receiver.logs if "seq" in record]
