"""The loggers of a process, by the names of their servers."""

from __future__ import annotations

import copyreg
import os
import re
import sys

from cipherlog_core._encode import printed
from cipherlog_core._logger import Logger
from cipherlog_core._pipeline import PIPELINE
from cipherlog_core._record import name_server, server_name
from cipherlog_core._settings import Settings, notice

__all__ = ["STARTED", "loggers", "open_server", "server_logger"]

_RESERVED = {"openrouter-costs", "routing-metadata"}
_LONGEST = 48

_loggers: dict[str, Logger] = {}

STARTED: list[Logger] = []
"""Those that `start` opened, in its order."""


def open_server(server: str, settings: Settings | None) -> Logger:
    """The logger of *server*, whose log is open."""
    name = _valid(server)
    name_server(name)
    logger = _loggers.get(name) or _loggers.setdefault(name, Logger(name))
    spool = PIPELINE.start(name, settings)
    logger.use(spool, PIPELINE.settings(spool.name))
    if logger not in STARTED:
        STARTED.append(logger)
    return logger


def loggers() -> list[Logger]:
    """All that there are."""
    return list(_loggers.values())


def server_logger(server: str | None) -> Logger:
    """The logger of *server*, whose log opens at its first event; without a name that of the process."""
    name = _valid(server or server_name() or os.path.splitext(os.path.basename((sys.argv or [""])[0]))[0] or "server")
    logger = _loggers.get(name)
    if logger is None:
        logger = Logger(name)
        spool = PIPELINE.server_spool(name)
        logger.use(spool, PIPELINE.settings(spool.name))
        logger = _loggers.setdefault(name, logger)
    return logger


copyreg.pickle(Logger, lambda logger: (server_logger, (logger.server,)))  # as a `logging.Logger`: by its name


def _valid(server: str) -> str:
    """*server* as a file name can have it, with a notice where it is changed for that."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", server if isinstance(server, str) else printed(server))[:_LONGEST]
    name = re.sub(r"-(?=\d{8}T\d{6}Z-\d+$)", "_", name) or "server"  # else its file would be another log's segment
    if name in _RESERVED or name.startswith("."):
        name = f"server-{name}"[:_LONGEST]
    if name != server:
        notice(
            f"server {name}",
            f"start({printed(server)!r}): a server's name is 1 to 48 of A-Z a-z 0-9 . _ - and not "
            f"{' or '.join(sorted(_RESERVED))}; its log is {name}.jsonl.",
        )
    return name
