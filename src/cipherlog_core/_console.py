"""All that is logged, on stderr or stdout as well: the bytes of each batch, written by the writer thread."""

from __future__ import annotations

import select
import sys
import threading
import time
from collections import deque
from typing import Any

from cipherlog_core._settings import notice

__all__ = ["Console"]

_MOST = 1 << 20  # bytes that may wait for a console that is slow
_PIECE = 4096  # bytes for which a pipe has room that says it has some
_NAP = 0.001


class Console:
    """*stream* is the name of one in `sys`, looked up when it is written to: programs replace it.

    A pipe whose reader reads no more is not written to: the thread that hangs there would be the log's.
    """

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self.renew()

    def renew(self) -> None:
        """Begin anew in a forked child: what waits is its parent's."""
        self._batches: deque[bytes] = deque()
        self._waiting = 0
        self._left_out = 0
        self._writing: set[int] = set()  # threads that are at it

    def put(self, batch: bytes) -> None:
        """Take a *batch* of whole lines; neither waits nor raises."""
        if self._waiting + len(batch) > _MOST:
            self._left_out += batch.count(b"\n")
        else:
            self._waiting += len(batch)
            self._batches.append(batch)

    def write(self, deadline: float = 0.0) -> None:
        """Write what has been taken so far, as far as the stream takes it until *deadline* (`time.monotonic`).

        What a stream logs when it is written to has to wait for the next call.
        """
        me = threading.get_ident()
        while self._writing:
            if me in self._writing or time.monotonic() >= deadline:  # the stream flushes the log, or hangs
                return
            time.sleep(_NAP)
        try:
            self._writing.add(me)
            for _ in range(len(self._batches)):
                if not self._write_next(deadline):
                    return
            self._tell_left_out(deadline)
        finally:
            self._writing.discard(me)

    def _write_next(self, deadline: float) -> bool:
        try:
            batch = self._batches.popleft()
        except IndexError:  # another thread was faster
            return True
        self._waiting = max(0, self._waiting - len(batch))
        rest = self._write(batch, deadline)
        if rest:
            self._waiting += len(rest)
            self._batches.appendleft(rest)
        return not rest

    def _tell_left_out(self, deadline: float) -> None:
        if left_out := self._left_out:
            text = b"cipherlog_core: %d lines were too many for this console; they are in the log.\n" % left_out
            if not self._write(text, deadline):
                self._left_out -= left_out

    def _write(self, batch: bytes, deadline: float) -> bytes:
        """Write *batch*; what of it the stream does not take."""
        stream = getattr(sys, self._stream, None)
        while batch and stream is not None:
            piece = batch[:_PIECE]
            piece = piece[: piece.rfind(b"\n") + 1] or piece.decode("utf-8", "ignore").encode() or piece
            try:
                if not _is_ready(stream, deadline):
                    return batch
                _write_text(stream, piece.decode("utf-8", "replace"))
            except Exception as error:  # noqa: BLE001  closed, a broken pipe, a program's own object
                notice.from_sink(
                    f"console {self._stream}", f"LOG_CONSOLE: {self._stream} cannot be written ({error!r})."
                )
                return b""
            batch = batch[len(piece) :]
        return b""


def _is_ready(stream: Any, deadline: float) -> bool:
    """Whether *stream* takes a piece at once, by *deadline* at the latest; what is no file always does."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
    except Exception:  # noqa: BLE001  there is no poll, or no descriptor
        return True
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _write_text(stream: Any, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:
        stream.write(text.encode("ascii", "backslashreplace").decode())
    stream.flush()
