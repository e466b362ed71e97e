"""A rotation that comes at the worst moment, between two steps of whoever follows the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cipherlog_core._checkpoint import Position
from cipherlog_core._rotation import Segment
from cipherlog_core.ship._tail import Tail


class Followed:
    """A log and who follows it. *rotate* is called before or after one look for segments, the next one."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = folder / "app.jsonl"
        self.tail = Tail(str(folder), "app.jsonl", Position(), lambda *said: pytest.fail(str(said)))
        self.before: list[Callable[[], object]] = []
        self.after: list[Callable[[], object]] = []
        look = self.tail._next_segment

        def next_segment() -> Segment | None:
            while self.before:
                self.before.pop()()
            found = look()
            while self.after:
                self.after.pop()()
            return found

        monkeypatch.setattr(self.tail, "_next_segment", next_segment)

    def write(self, *lines: str) -> None:
        with self.path.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def rotate(self, number: int) -> None:
        self.path.rename(self.path.with_name(f"app-20261124T000000Z-{number:06d}.jsonl"))

    def read(self) -> list[str]:
        found: list[str] = []
        while batch := self.tail.read(2, 1000):
            found += [line.decode() for line in batch.lines]
            self.tail.accept(batch)
        return found


@pytest.fixture
def followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Followed]:
    one = Followed(tmp_path, monkeypatch)
    yield one
    one.tail.close()


def test_lines_between_the_last_read_and_the_rotation_are_read(followed: Followed) -> None:
    """The end of the file was seen, then a line came, then the rename."""
    followed.write("1")
    assert followed.read() == ["1"]

    def more() -> None:
        followed.write("2", "3", "4")
        followed.rotate(1)
        followed.write("5")

    followed.before.append(more)

    assert followed.read() == ["2", "3", "4", "5"]


def test_a_rotation_between_the_look_and_the_opening_is_noticed(followed: Followed) -> None:
    """What was opened is the file after the one that is due."""
    followed.write("1")

    def more() -> None:
        followed.rotate(1)
        followed.write("2")

    followed.after.append(more)

    assert followed.read() == ["1", "2"]


def test_many_rotations_while_nobody_reads_are_followed(followed: Followed) -> None:
    """Each file in its turn, the one that was half read first."""
    followed.write("0")
    assert followed.read() == ["0"]
    for number in range(1, 6):
        followed.write(f"{number} a", f"{number} b", f"{number} c")
        followed.rotate(number)
    followed.write("6")

    assert followed.read() == [*(f"{number} {part}" for number in range(1, 6) for part in "abc"), "6"]


def test_a_file_that_is_deleted_while_it_is_open_is_read_to_its_end(followed: Followed) -> None:
    """And the segment after it is not taken for it."""
    followed.write("1", "2", "3")
    first = followed.tail.read(2, 1000)
    assert first is not None
    followed.tail.accept(first)
    followed.rotate(1)
    followed.path.with_name("app-20261124T000000Z-000001.jsonl").unlink()
    followed.write("4")
    followed.rotate(2)
    followed.write("5")

    assert followed.read() == ["3", "4", "5"]
