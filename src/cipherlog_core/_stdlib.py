"""The bridge from `logging`: a handler, and what `start` does to the root logger."""

from __future__ import annotations

import logging

from cipherlog_core._logger import Logger
from cipherlog_core._servers import STARTED, server_logger

__all__ = ["CipherHandler", "bridge", "unbridge"]


class CipherHandler(logging.Handler):
    """A `logging.Handler` that writes to the log of *server*; without one to that of the process's first `start`.

    For `logging.config.dictConfig` and by hand; `start` puts one on the root logger. It takes no lock, formats nothing
    and never waits for the disk, so it needs no `QueueHandler` before it; behind a `QueueListener` it writes the
    thread, process and time of the record, and what `bind` bound must come along as ``extra``.
    Formatters are not used: message, extras and exception are fields of the record. A *level* of its own stands for
    ``LOG_LEVEL``.
    """

    def __init__(self, server: str | None = None, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self.server = server
        self._logger: Logger | None = None

    def createLock(self) -> None:  # noqa: N802  a method of `logging`
        """None is needed: a line is put into the ring in one step, from any thread, nested or not."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Log *record* unless a filter is against it."""
        kept = self.filter(record)
        if kept:
            self.emit(record if kept is True else kept)
        return bool(kept)

    def emit(self, record: logging.LogRecord) -> None:
        """Log *record*; never raises."""
        (self._logger or self._find_logger()).handle(record, self.level)

    def _find_logger(self) -> Logger:
        logger = server_logger(self.server)
        if self.server is not None or STARTED:  # else the first start is still to come
            self._logger = logger
        return logger


_root: tuple[CipherHandler, int, int] | None = None  # ours, and the level of the root logger before and since


def bridge(server: str, level: int) -> None:
    """Have what reaches the root logger in the log of *server* as well, from *level* on, unless it is there already."""
    global _root
    root = logging.getLogger()
    if _is_bridged(root):
        return
    with logging._lock:  # type: ignore[attr-defined]  # noqa: SLF001  else another start, or a dictConfig, is in between
        if _is_bridged(root):
            return
        handler, before = CipherHandler(server), root.level
        root.addHandler(handler)
        if before > level:
            root.setLevel(level)
        _root = handler, before, root.level


def _is_bridged(root: logging.Logger) -> bool:
    return any(isinstance(handler, CipherHandler) for handler in root.handlers)


def unbridge() -> None:
    """Undo `bridge`."""
    global _root
    if _root is not None:
        handler, before, since = _root
        _root = None
        root = logging.getLogger()
        root.removeHandler(handler)
        if root.level == since:
            root.setLevel(before)
