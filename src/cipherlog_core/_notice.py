"""Tell the operator something once, without ever hurting the program that is logged."""

from __future__ import annotations

import logging
import sys

from cipherlog_core._redact import clean_text

__all__ = ["Notices", "shown"]

_LONGEST = 8192  # characters of a message
_MOST = 1000  # kinds that are told; some are named after what a program passes, which may be another each time


class Notices:
    """Messages to a package's own logger at WARNING, each kind once per process.

    Never ``warnings.warn``: a host that runs with ``-W error`` would see it raised into its own call.
    """

    def __init__(self, logger: str) -> None:
        self.logger = logging.getLogger(logger)
        self._seen: set[str] = set()

    def __call__(self, kind: str, message: str) -> None:
        """Log *message* unless this *kind* was told before. Call it while no lock of ours is held."""
        if self._first(kind):
            try:
                self.logger.warning("%s", _middle_cut(clean_text(message)))
            except Exception:  # noqa: BLE001  a host's own handler or filter may raise anything
                self._to_stderr(message)

    def from_sink(self, kind: str, message: str) -> None:
        """Say it on stderr: what arises inside a log's sink must not be logged through that sink."""
        if self._first(kind):
            self._to_stderr(message)

    def _first(self, kind: str) -> bool:
        if kind in self._seen or len(self._seen) >= _MOST:
            return False
        self._seen.add(kind)
        return True

    def _to_stderr(self, message: str) -> None:
        try:
            sys.stderr.write(f"{self.logger.name}: {clean_text(message)}\n")
        except Exception:  # noqa: BLE001  stderr may be closed, None or a broken pipe
            return


def _middle_cut(message: str) -> str:
    half = _LONGEST // 2
    return message if len(message) <= _LONGEST else f"{message[:half]} … {message[-half:]}"


def shown(value: object) -> str:
    """The `repr` of a *value*, whatever it is; never raises."""
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  a caller's __repr__ may raise anything, and so does a number of 5,000 digits
        return f"<{type(value).__name__}>"
