"""See in a test what a program logs, without a file."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from cipherlog_core._folders import JSON_SUFFIX
from cipherlog_core._logger import Logger
from cipherlog_core._pipeline import PIPELINE
from cipherlog_core._record import server_name
from cipherlog_core._servers import loggers, server_logger
from cipherlog_core._settings import Settings
from cipherlog_core._spool import Spool
from cipherlog_core._stdlib import CipherHandler, bridge, unbridge

__all__ = ["capture"]

_NAME = "capture"


@contextmanager
def capture(*, bridged: bool = True) -> Iterator[list[dict[str, Any]]]:
    """All records of this process, as dicts, until the end of the ``with`` block; none of them goes to a file.

    The value is a list that grows: what `cipherlog_core.Logger.event`, channels (the tap's costs among them) and
    `logging` write, in any thread, from the level on that is in force. A record has the keys that its line would have.
    What reaches the root logger of `logging` is captured though `start` was never called, from INFO (``LOG_LEVEL``) on;
    with *bridged* false only where it was, and the root logger stays as it is. No thread, ring or folder is
    made inside the block, not by `start` either; `stats` does not count. Blocks may nest: each gets all.
    """
    records: list[dict[str, Any]] = []

    def take(line: bytes) -> None:
        records.append(json.loads(line))

    try:
        with PIPELINE.diverted(take), _stand_in(take) if bridged else nullcontext():
            _choose_forms()
            yield records
    finally:
        _choose_forms()


class _StandIn(logging.Handler):
    """Stands on the root logger for the handler that `start` would put there."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        super().__init__()
        spool = Spool(_NAME + JSON_SUFFIX, lambda _: False, lambda: None)
        spool.divert(take)
        self.logger = Logger(server_name() or _NAME)
        self.logger.use(spool, Settings.from_env())

    def emit(self, record: logging.LogRecord) -> None:
        if not _bridge():
            self.logger.handle(record)


@contextmanager
def _stand_in(take: Callable[[bytes], None]) -> Iterator[None]:
    root, handler, bridged = logging.getLogger(), _StandIn(take), _bridge()
    before, level = root.level, min(root.level, handler.logger.threshold)
    root.addHandler(handler)
    root.setLevel(level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        new = None if bridged else _bridge()
        if new:  # by a start inside the block, which took our level for the program's
            unbridge()
        if root.level == level:
            root.setLevel(before)
        if new and new.server:
            bridge(new.server, server_logger(new.server).threshold)


def _bridge() -> CipherHandler | None:
    return next((handler for handler in logging.getLogger().handlers if isinstance(handler, CipherHandler)), None)


def _choose_forms() -> None:
    for logger in loggers():
        logger.choose_form()
