"""All that is logged, on stderr or stdout as well: the bytes of each batch, written by the writer thread."""

from __future__ import annotations

import sys
import threading
from collections import deque

from cipherlog_core._settings import notice

__all__ = ["Console"]

_MOST = 1 << 20  # bytes that may wait for a console that is slow


class Console:
    """*stream* is the name of one in `sys`, looked up when it is written to: programs replace it."""

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

    def write(self) -> None:
        """Write what has been taken so far. What a stream logs when it is written to has to wait for the next call."""
        me = threading.get_ident()
        if me in self._writing:  # the stream flushes the log
            return
        try:
            self._writing.add(me)
            for _ in range(len(self._batches)):
                self._write_next()
            self._tell_left_out()
        finally:
            self._writing.discard(me)

    def _write_next(self) -> None:
        try:
            batch = self._batches.popleft()
        except IndexError:  # another thread was faster
            return
        self._waiting = max(0, self._waiting - len(batch))
        self._write(batch.decode("utf-8", "replace"))

    def _tell_left_out(self) -> None:
        if left_out := self._left_out:
            self._left_out -= left_out
            self._write(f"cipherlog_core: {left_out} lines were too many for this console; they are in the log.\n")

    def _write(self, text: str) -> None:
        stream = getattr(sys, self._stream, None)
        if stream is None:
            return
        try:
            try:
                stream.write(text)
            except UnicodeEncodeError:
                stream.write(text.encode("ascii", "backslashreplace").decode())
            stream.flush()
        except Exception as error:  # noqa: BLE001  closed, a broken pipe, a program's own object
            notice.from_sink(f"console {self._stream}", f"LOG_CONSOLE: {self._stream} cannot be written ({error!r}).")
