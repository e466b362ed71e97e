"""Follows one log through rotation, compression and pruning, from a position that survives all three.

A file is known by its place in the order of the segments and by its first bytes, never by name or inode alone: a log
that rotates uses those again.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from typing import BinaryIO, NamedTuple, cast

from cipherlog_core._checkpoint import HEAD, Position, head_of
from cipherlog_core._filesystem import open_regular
from cipherlog_core._rotation import Segment, closed_segments, last_segment_number

__all__ = ["Batch", "Tail", "Tell"]

_STEP = 1 << 18  # bytes read at a time
_LONGEST = 1 << 20  # bytes of a line; one of the logger's own has a quarter of that at most
_BROKEN = (OSError, EOFError, zlib.error)

Tell = Callable[[str, str], object]
"""Told once of each kind of thing that an operator should know: kind, message."""


class Batch(NamedTuple):
    """Lines of one log, without their ends, and the position behind them."""

    log: str
    lines: list[bytes]
    position: Position


class Tail:
    """The log *name* in *folder* from *position* on."""

    def __init__(self, folder: str, name: str, position: Position, tell: Tell) -> None:
        self.name = name
        self.position = position
        """Behind the last batch that was accepted."""
        self.unreadable = 0
        """Files that could not be read to their end."""
        self._path = os.path.join(folder, name)
        self._folder = folder
        self._tell = tell
        self._file: BinaryIO | None = None
        self._number: int | None = None  # that of the segment that is open; None for the log itself
        self._is_broken = False
        self._has_more = False  # whether the file holds what was not read
        self._buffer = b""  # what was read, from `position` on

    def read(self, most_lines: int, most_bytes: int) -> Batch | None:
        """The next lines, of one file; None where there are none yet. The same again until they are accepted."""
        while self._file is not None or self._open():
            self._fill()
            if end := self._cut(most_lines, most_bytes):
                return self._batch(end)
            if self._number is None and self._next_segment() is None:
                self._check_file()
                return None
            if self._fill():  # the last lines came between the read and the rename
                continue
            if self._buffer:  # the half line of another program
                return self._batch(len(self._buffer))
            self._leave()
        return None

    def accept(self, batch: Batch) -> None:
        """Go on behind *batch*."""
        self._buffer = self._buffer[batch.position.offset - self.position.offset :]
        self.position = batch.position

    def note(self, batch: Batch, delivered: tuple[str, ...]) -> None:
        """Remember which signals have delivered *batch*, which is not accepted yet: it comes as it is."""
        place = batch.position
        self.position = Position(
            place.after, self.position.offset, place.head, place.measured, end=place.offset, delivered=delivered
        )

    def delivered(self, batch: Batch) -> tuple[str, ...]:
        """The signals that have."""
        return self.position.delivered if batch.position.offset == self.position.end else ()

    @property
    def is_at_end(self) -> bool:
        """Whether all that the log held at the last `read` is accepted."""
        return self._number is None and not self._buffer and not self._has_more

    def close(self) -> None:
        """Close the file; the next `read` goes on from `position`."""
        file, self._file, self._buffer = self._file, None, b""
        if file is not None:
            file.close()

    def _next_segment(self) -> Segment | None:
        """The oldest that is not shipped; a plain one before its compressed copy."""
        found = closed_segments(self._folder, self.name)
        return min((segment for segment in found if segment.number > self.position.after), default=None)

    def _open(self) -> bool:
        """Open the file at `position`; False where there is none."""
        while True:
            segment = self._next_segment()
            try:
                self._file = _opened(segment.path if segment else self._path)
            except FileNotFoundError:
                if segment is None and self._next_segment() is None:
                    return False
                continue  # it was renamed, compressed or deleted meanwhile
            except OSError as error:
                self._tell(
                    f"unopened {self.name}", f"a file of {self.name} cannot be opened, it is tried again: {error}"
                )
                return False
            if segment is None and self._next_segment() is not None:
                self.close()  # a rotation came between the two steps: this is the file after the one that is due
                continue
            self._number, self._is_broken = segment and segment.number, False
            self._find_place(self._file)
            return True

    def _find_place(self, file: BinaryIO) -> None:
        """Go to `position` in the file just opened: to its beginning if it is another file than the one meant."""
        try:
            if not self._is_meant(file):
                self._tell(
                    f"gone {self.name}",
                    f"a file of {self.name} was deleted or replaced before all of it was shipped; what follows is.",
                )
                last = last_segment_number(self._folder, self.name)
                self.position = Position(after=min(self.position.after, last))
            file.seek(self.position.offset)
        except _BROKEN as error:
            self._break(error)

    def _is_meant(self, file: BinaryIO) -> bool:
        if not self.position.measured:
            return True
        if head_of(_read(file, self.position.measured)) != self.position.head:
            return False
        end = max(self.position.offset, self.position.end)
        if isinstance(file, _Unpacked):
            return file.seek(end) == end
        return os.fstat(file.fileno()).st_size >= end

    def _fill(self) -> bool:
        """Read on as far as a line can be long; whether anything came."""
        file, before = cast("BinaryIO", self._file), len(self._buffer)
        self._has_more = not self._is_broken
        try:
            while self._has_more and len(self._buffer) < _LONGEST:
                data = file.read(_STEP)
                self._buffer += data
                self._has_more = bool(data)
        except _BROKEN as error:
            self._break(error)
        return len(self._buffer) > before

    def _break(self, error: Exception) -> None:
        self._is_broken, self._has_more = True, False
        self.unreadable += 1
        self._tell(f"unreadable {self.name}", f"a file of {self.name} cannot be read to its end: {error}")

    def _cut(self, most_lines: int, most_bytes: int) -> int:
        """The end, in the buffer, of the last line of the next batch; 0 where there is no whole one."""
        end = self.position.end - self.position.offset
        if 0 < end <= len(self._buffer):
            return end
        end = 0
        for _ in range(most_lines):
            next_end = self._buffer.find(b"\n", end) + 1
            if not next_end or (end and next_end > most_bytes):
                break
            end = next_end
        return end or (len(self._buffer) if len(self._buffer) >= _LONGEST else 0)

    def _batch(self, end: int) -> Batch:
        lines = [line for line in self._buffer[:end].split(b"\n") if line]
        return Batch(self.name, lines, self._position_at(self.position.offset + end))

    def _position_at(self, offset: int) -> Position:
        after, head, measured = self.position.after, self.position.head, self.position.measured
        if measured < HEAD:
            file, measured = cast("BinaryIO", self._file), min(HEAD, offset)
            place = file.tell()
            file.seek(0)
            head = head_of(_read(file, measured))
            file.seek(place)
        return Position(after, offset, head, measured)

    def _leave(self) -> None:
        """The open file is read to its end and closed: go on with the next."""
        number = self._number or self._number_now()
        self.close()
        self.position = Position(after=self.position.after if number is None else number)

    def _number_now(self) -> int | None:
        """The number that the log itself got since it was opened; None where that segment has been deleted."""
        file = cast("BinaryIO", self._file)
        file.seek(0)
        head = _read(file, HEAD)
        while segment := self._next_segment():
            try:
                with _opened(segment.path) as other:
                    return segment.number if _read(other, HEAD) == head else None
            except FileNotFoundError:
                continue  # compressed or deleted meanwhile
            except _BROKEN:
                return None
        return None

    def _check_file(self) -> None:
        """Close the log where somebody has truncated or replaced it; `_find_place` tells then."""
        file = cast("BinaryIO", self._file)
        try:
            there = os.stat(self._path, follow_symlinks=False)
        except FileNotFoundError:
            return  # deleted, or in the middle of a rotation
        here = os.fstat(file.fileno())
        if (there.st_ino, there.st_dev) != (here.st_ino, here.st_dev) or here.st_size < file.tell() or self._is_broken:
            self.close()


class _Unpacked(gzip.GzipFile):
    """A compressed file, which closes what it is read from."""

    def __init__(self, raw: BinaryIO) -> None:
        super().__init__(fileobj=raw, mode="rb")
        self._raw = raw

    def close(self) -> None:
        super().close()
        self._raw.close()


def _opened(path: str) -> BinaryIO:
    raw = cast("BinaryIO", os.fdopen(open_regular(path, os.O_RDONLY), "rb", buffering=0))
    return cast("BinaryIO", _Unpacked(raw)) if path.endswith(".gz") else raw


def _read(file: BinaryIO, count: int) -> bytes:
    """*count* bytes, or all there are."""
    data = b""
    while len(data) < count and (more := file.read(count - len(data))):
        data += more
    return data
