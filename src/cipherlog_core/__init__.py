"""A structured logger whose events survive the death of the process, at the price of a memory copy."""

from __future__ import annotations

from cipherlog_core._channel import Channel, channel
from cipherlog_core._context import bind, bound
from cipherlog_core._logger import Logger
from cipherlog_core._pipeline import PIPELINE
from cipherlog_core._routing import Routing, routing_event
from cipherlog_core._servers import open_server
from cipherlog_core._settings import Settings
from cipherlog_core._stats import FileStats, Stats
from cipherlog_core._stdlib import CipherHandler, bridge, unbridge

__all__ = [
    "Channel",
    "CipherHandler",
    "FileStats",
    "Logger",
    "Routing",
    "Settings",
    "Stats",
    "bind",
    "bound",
    "channel",
    "flush",
    "routing_event",
    "start",
    "stats",
    "stop",
]


def start(server: str, *, settings: Settings | None = None) -> Logger:
    """The logger that writes ``<server>.jsonl``; what dead processes left behind is in the logs when it returns.

    What reaches the root logger of `logging` is written there too, from ``LOG_LEVEL`` on: the first start of a process
    puts a `CipherHandler` on the root logger, whose level it lowers if need be. `stop` undoes that.

    *server*: 1 to 48 of ``A-Z a-z 0-9 . _ -``, not ``openrouter-costs`` or ``routing-metadata``; what does not fit
    is replaced, with a notice. A second start of the same name returns the same logger, another name adds a file.
    *settings* default to `Settings.from_env`; those of a process's first start also hold for its typed events.
    """
    logger = open_server(server, settings)
    bridge(logger.server, logger.threshold)
    return logger


def flush(timeout: float = 5.0) -> bool:
    """Have all events so far in their files; False if that took longer than *timeout* seconds.

    The calling thread writes too: a disk that hangs under it holds it until it goes on.
    """
    return PIPELINE.flush(timeout)


def stop(timeout: float = 2.0) -> bool:
    """Write what is left and close everything; an event after that starts it again.

    False if something could not be written within *timeout* seconds: it stays in its ring for the next start.
    """
    unbridge()
    return PIPELINE.stop(timeout)


def stats() -> Stats:
    """Counts of this process: accepted, written, dropped, recovered … in all and per file."""
    return PIPELINE.stats()
