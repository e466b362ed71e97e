"""Ships a folder: one leader among all processes, batch by batch, the checkpoint after the acknowledgement."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from cipherlog_core._checkpoint import Position, load, path_of, save
from cipherlog_core._filesystem import make_folder, open_regular, try_lock
from cipherlog_core._folders import Folders
from cipherlog_core._rotation import last_segment_number, logs
from cipherlog_core.ship._answer import Answer
from cipherlog_core.ship._options import Destination
from cipherlog_core.ship._otlp import Encoder, Entry, entries, signals
from cipherlog_core.ship._send import Sender, sender
from cipherlog_core.ship._tail import Batch, Tail, Tell

__all__ = ["Shipped", "Shipper"]

_LINES, _BYTES = 512, 1 << 19  # of a batch, unless one line is longer
_POLL = 0.5  # seconds between two looks at files in which nothing is new
_ELECT = 1.0  # seconds between two tries to become the leader
_BACK_OFF = 0.5, 30.0  # seconds after the first failure, and at most; then half of it to all of it, by chance


@dataclass(slots=True)
class Shipped:
    """What became of the lines so far."""

    lines: int = 0
    """Done with: taken, or parked, in all signals."""
    parked: int = 0
    """Lines, each once for each signal, that the receiver refused; they are in the dead-letter files."""
    rejected: int = 0
    """Items that the receiver took with the rest of their request, and said it had thrown away."""
    unreadable: int = 0
    """Files that could not be read to their end."""


class _Ended(Exception):  # noqa: N818  no error
    """There is no more time for the batch at hand."""


class Shipper:
    """Ships the logs of *folders* to *destinations*, in the thread that calls `run`.

    *tell* gets what an operator should know. *recover*, where given, is called now and then by the leader to bring in
    what dead processes left.
    """

    def __init__(
        self,
        folders: Folders,
        destinations: Mapping[str, Destination],
        resource: Mapping[str, str],
        tell: Tell,
        recover: Callable[[], object] | None = None,
    ) -> None:
        self.shipped = Shipped()
        self.is_leader = False
        self.trouble: str | None = None
        """Why the receiver did not take the last request; None when it did."""
        self._folders = folders
        self._senders: dict[str, Sender] = {name: sender(name, to) for name, to in destinations.items()}
        self._encoder = Encoder(resource, signals())
        self._tell = tell
        self._recover = recover
        self._recover_at = 0.0
        self._tails: dict[str, Tail] = {}
        self._lock = -1
        self._stop = threading.Event()
        self._last_look = threading.Event()
        self._patience: float | None = None
        self._is_saved = True
        self._note: Callable[[], object] = lambda: None  # saves what of the batch at hand is delivered

    def run(self, *, once: bool = False, patience: float | None = None) -> bool:
        """Ship until `stop`; with *once*, until all that there is has been shipped. False where something is left.

        *patience*: seconds after which a receiver that takes nothing is given up; None: never. Raises `OSError` where
        the folder cannot hold the lock, or refused lines.
        """
        self._patience = patience
        try:
            while not self._stop.is_set():
                if not self._lead():
                    if once:
                        self.trouble = "another process ships this folder"
                        return False
                    if self._last_look.wait(_ELECT):
                        return True  # it is that one's
                    continue
                is_last = once or self._last_look.is_set()
                if not self._round():
                    if is_last:
                        return self._is_saved or self._saves_at_last()
                    self._last_look.wait(_POLL)
        except _Ended:
            return False
        finally:
            self._close()
        return False

    def finish(self) -> None:
        """Have `run` end when it has shipped what there is, unless the receiver fails."""
        self._last_look.set()

    def stop(self) -> None:
        """Have `run` end now; a request that is on its way is waited for by `run`, and not here."""
        self._stop.set()
        self._last_look.set()

    def abandon(self) -> None:
        """In a forked child: let go of the lock, which is the parent's. Nothing else of it may be used."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            with suppress(OSError):
                os.close(lock)

    def _lead(self) -> bool:
        """Be, or become, the one process that ships the folder; False while another is."""
        path = os.path.join(self._folders.spool, "ship.lock")
        if self.is_leader and _is_in_place(self._lock, path):
            return True
        self.is_leader = False
        self.abandon()
        self._forget_tails()
        try:
            make_folder(self._folders.spool)
            self._lock = open_regular(path, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:  # deleted while it was made
            return False
        if not try_lock(self._lock) or not _is_in_place(self._lock, path):
            self.abandon()
            return False
        self._begin()
        self.is_leader = True
        return True

    def _begin(self) -> None:
        try:
            positions = load(self._folders)
        except ValueError as error:
            positions, path = {}, path_of(self._folders)
            os.replace(path, f"{path}.bad")
            self._tell(
                "checkpoint", f"{path} is no checkpoint ({error}): it is kept as .bad, and all is shipped again."
            )
        for name, position in positions.items():
            last = last_segment_number(self._folders.logs, name)
            if position.after > last:  # the numbers begin anew; the file at hand is known by its head all the same
                self._tell(f"behind {name}", f"{name} has no segment {position.after}: all that are there are shipped.")
                position = replace(position, after=0)  # noqa: PLW2901
            self._tails[name] = Tail(self._folders.logs, name, position, self._tell)

    def _round(self) -> bool:
        """Give each log its turn; whether there is more than what was there when it had it."""
        if self._recover is not None and time.monotonic() >= self._recover_at:
            self._recover_at = time.monotonic() + 5
            self._recover()
        self._find_logs()
        more = False
        for tail in self._tails.values():
            batch = tail.read(_LINES, _BYTES)
            if batch is not None:
                self._ship(tail, batch)
                tail.accept(batch)
                self._save()
                self.shipped.lines += len(batch.lines)
                more |= not tail.is_at_end
        self.shipped.unreadable = sum(tail.unreadable for tail in self._tails.values())
        return more

    def _find_logs(self) -> None:
        try:
            found = logs(self._folders.logs)
        except FileNotFoundError:
            return
        new = [name for name in found if name not in self._tails]
        for name in new:
            self._tails[name] = Tail(self._folders.logs, name, Position(), self._tell)
        if new:
            self._save()  # from now on the archiver keeps what is not shipped

    def _save(self) -> None:
        try:
            save(self._folders, {name: tail.position for name, tail in self._tails.items()})
            self._is_saved = True
        except OSError as error:  # a full disk: the position is known here, and a later batch saves it
            self._is_saved = False
            self._tell("unsaved", f"the checkpoint cannot be saved, a crash now would ship lines again: {error}")

    def _saves_at_last(self) -> bool:
        self._save()
        if not self._is_saved:
            self.trouble = "the checkpoint cannot be saved, these lines will be shipped again"
        return self._is_saved

    def _ship(self, tail: Tail, batch: Batch) -> None:
        known, delivered = entries(batch.lines), tail.delivered(batch)

        def note() -> None:
            if delivered and delivered != tail.delivered(batch):
                tail.note(batch, delivered)
                self._save()

        self._note = note
        for signal in self._senders:
            if signal not in delivered:
                self._deliver(signal, batch.log, known)
                delivered = (*delivered, signal)

    def _deliver(self, signal: str, log: str, batch: Sequence[Entry]) -> None:
        try:
            request = self._encoder.encode(signal, log, batch)
        except Exception as error:  # noqa: BLE001  nothing in a line may stop those after it
            answer = Answer("too large" if len(batch) > 1 else "refused", f"it cannot be encoded: {error}")
        else:
            if request is None:
                return
            answer = self._send(signal, request)
        if answer.kind == "too large" and len(batch) > 1:
            half = len(batch) // 2
            self._deliver(signal, log, batch[:half])
            self._deliver(signal, log, batch[half:])
        elif answer.kind != "taken":
            self._park(signal, log, batch, answer)
        elif answer.rejected:
            self.shipped.rejected += answer.rejected
            self._tell(
                f"rejected {signal}",
                f"the receiver took a request of {signal} and threw away {answer.rejected} of it: {answer.reason}",
            )

    def _send(self, signal: str, request: Any) -> Answer:
        """Send until the receiver has taken or refused it."""
        wait, begun = _BACK_OFF[0], time.monotonic()
        while not self._stop.is_set():
            answer = self._senders[signal].send(request)
            if answer.kind != "later":
                if self.trouble is not None:
                    self._tell(f"again {signal}", f"the receiver answers again; {signal} go on.")
                self.trouble = None
                return answer
            self.trouble = answer.reason
            self._note()  # a signal that is away has the others sent no second time, however this ends
            self._tell(f"later {signal}", f"{signal} cannot be delivered, it is tried again: {answer.reason}")
            pause = wait * random.uniform(0.5, 1.0)  # noqa: S311
            if answer.wait:
                pause = max(answer.wait, _BACK_OFF[0])
            if self._last_look.is_set() or self._is_tired(begun, pause):
                raise _Ended
            if self._last_look.wait(pause):
                raise _Ended
            wait = min(2 * wait, _BACK_OFF[1])
        raise _Ended

    def _is_tired(self, begun: float, pause: float) -> bool:
        return self._patience is not None and time.monotonic() + pause - begun > self._patience

    def _park(self, signal: str, log: str, batch: Sequence[Entry], answer: Answer) -> None:
        """Put the lines where they can be shipped from again: a log folder of its own."""
        folder = os.path.join(self._folders.spool, "dead-letters", signal)
        make_folder(folder)
        path = os.path.join(folder, log)
        with os.fdopen(open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as file:
            file.write(b"".join(b"%b\n" % entry.line for entry in batch))
            file.flush()
            os.fsync(file.fileno())
        self.shipped.parked += len(batch)
        self._tell(
            f"refused {signal}",
            f"the receiver refuses {signal} ({answer.reason}); the lines are kept in {path}, and it goes on.",
        )

    def _forget_tails(self) -> None:
        for tail in self._tails.values():
            tail.close()
        self._tails = {}

    def _close(self) -> None:
        self._forget_tails()
        self.abandon()
        self.is_leader = False
        for one in self._senders.values():
            one.close()


def _is_in_place(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except OSError:
        return False
