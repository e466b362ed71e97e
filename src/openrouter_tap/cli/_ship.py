"""The shipper as a process of its own."""

from __future__ import annotations

import os
import signal
import threading
from functools import partial
from types import FrameType

import click

from cipherlog_core import Settings
from cipherlog_core.reading import Folders, logs, recover
from cipherlog_core.ship._options import destinations, resource_attributes
from cipherlog_core.ship._shipper import Shipper

__all__ = ["run"]

FINE, UNDELIVERED, NO_LOGS, UNREADABLE = 0, 1, 3, 4

_PATIENCE = 30.0  # seconds after which --once gives a receiver up that takes nothing
_END = 2.0  # seconds that a signal leaves for the request at hand
_REPEAT = 1.0  # seconds between two looks whether the thread has ended


def run(folder: str, settings: Settings, endpoint: str | None, protocol: str | None, *, once: bool) -> int:
    """Ship *folder* until a signal, or *once*; the exit code. Raises `ValueError` for what cannot be used."""
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise ValueError(f"{folder} is no folder; --dir takes the folder of the logs")
    to, resource = destinations(os.environ, endpoint, protocol), resource_attributes(os.environ)
    if not (os.path.isdir(folder) and logs(folder)):
        told = "Nothing was logged there, or LOG_DIR is another."
        click.echo(f"no logs in {os.path.abspath(folder)} yet. {told}", err=True)
        if once:
            return NO_LOGS
    try:
        shipper = Shipper(
            Folders.of(folder, settings.spool_dir), to, resource, _Teller().tell, partial(_recover, folder, settings)
        )
        for name, destination in to.items():
            click.echo(
                f"{name} in {os.path.abspath(folder)} go to {destination.url} by {destination.protocol}", err=True
            )
        return _run(shipper, once=once)
    except OSError as error:
        click.echo(f"{folder} cannot be shipped: {error}", err=True)
        return UNDELIVERED


def _recover(folder: str, settings: Settings) -> None:
    if os.path.isdir(folder):
        recover(folder, settings.spool_dir, settings.file_mode)


class _Teller:
    """Says each kind of thing once, and again when what is said of it has changed."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def tell(self, kind: str, message: str) -> None:
        """Say *message* on stderr."""
        if kind.startswith("again "):
            self._said.pop(kind.replace("again", "later"), None)
        elif self._said.get(kind) == message:
            return
        self._said[kind] = message
        click.echo(message, err=True)


def _run(shipper: Shipper, *, once: bool) -> int:
    """Ship in a thread that nothing here waits for: a signal ends the process whatever the receiver does."""
    results: list[bool | Exception] = []
    ended = threading.Event()

    def work() -> None:
        try:
            results.append(shipper.run(once=once, patience=_PATIENCE if once else None))
        except Exception as error:  # noqa: BLE001  for the thread that waits
            results.append(error)
        ended.set()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        shipper.finish()
        is_told.append(True)

    is_told: list[bool] = []
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    threading.Thread(target=work, name="shipper", daemon=True).start()
    while not ended.wait(_REPEAT) and not is_told:
        pass
    if is_told:
        ended.wait(_END - _REPEAT)
        shipper.stop()
    for number, handler in before.items():
        signal.signal(number, handler)
    if results and isinstance(results[0], Exception):
        click.echo(f"not all is shipped: {type(results[0]).__name__}: {results[0]}", err=True)
        return UNDELIVERED
    return _code(shipper, is_done=results == [True], why="the signal came first" if is_told else "it is not known why")


def _code(shipper: Shipper, *, is_done: bool, why: str) -> int:
    shipped = shipper.shipped
    click.echo(
        f"{shipped.lines} lines shipped, {shipped.parked} refused and kept, {shipped.rejected} taken and thrown away",
        err=True,
    )
    if not is_done:
        click.echo(f"not all is shipped: {shipper.trouble or why}", err=True)
    if shipped.parked or shipped.rejected or not is_done:
        return UNDELIVERED
    return UNREADABLE if shipped.unreadable else FINE
