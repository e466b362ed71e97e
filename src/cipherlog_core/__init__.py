"""A structured logger whose events survive the death of the process, at the price of a memory copy."""

from __future__ import annotations

import re

from cipherlog_core._channel import Channel, channel
from cipherlog_core._context import bind
from cipherlog_core._logger import Logger
from cipherlog_core._pipeline import PIPELINE, FileStats, Stats
from cipherlog_core._record import name_server
from cipherlog_core._settings import LEVELS, Settings, notice

__all__ = [
    "Channel",
    "FileStats",
    "Logger",
    "Settings",
    "Stats",
    "bind",
    "channel",
    "flush",
    "start",
    "stats",
    "stop",
]

_loggers: dict[str, Logger] = {}
_RESERVED = {"openrouter-costs", "routing-metadata"}


def start(server: str, *, settings: Settings | None = None) -> Logger:
    """The logger that writes ``<server>.jsonl``; what dead processes left behind is in the logs when it returns.

    *server*: 1 to 48 of ``A-Z a-z 0-9 . _ -``, not ``openrouter-costs`` or ``routing-metadata``; what does not fit
    is replaced, with a notice. A second start of the same name returns the same logger, another name adds a file.
    *settings* default to `Settings.from_env`; those of a process's first start also hold for its typed events.
    """
    name = _valid(server)
    name_server(name)
    logger = _loggers.get(name) or _loggers.setdefault(name, Logger(name, PIPELINE.spool(name)))
    PIPELINE.start(name, settings)
    logger.threshold = LEVELS[PIPELINE.settings(name).level]
    return logger


def flush(timeout: float = 5.0) -> bool:
    """Have all events so far in their files; False if that took longer than *timeout* seconds."""
    return PIPELINE.flush(timeout)


def stop(timeout: float = 2.0) -> bool:
    """Write what is left and close everything; an event after that starts it again.

    False if something could not be written within *timeout* seconds: it stays in its ring for the next start.
    """
    return PIPELINE.stop(timeout)


def stats() -> Stats:
    """Counts of this process: accepted, written, dropped, recovered … in all and per file."""
    return PIPELINE.stats()


def _valid(server: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]", "_", str(server))[:48] or "server"
    if name in _RESERVED or name.startswith("."):
        name = f"server-{name}"[:48]
    if name != server:
        notice(
            f"server {server!r}",
            f"start({server!r}): a server's name is 1 to 48 of A-Z a-z 0-9 . _ - and not "
            f"{' or '.join(sorted(_RESERVED))}; its log is {name}.jsonl.",
        )
    return name
