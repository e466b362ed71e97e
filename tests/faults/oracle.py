"""The exact-set oracle: which numbered events a log holds, how often, and which lines are torn."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from cipherlog_core._rotation import segments


@dataclass
class Found:
    """Events as (producer, seq) with their number of copies, and lines that are no records."""

    events: Counter[tuple[str, int]] = field(default_factory=Counter)
    torn: list[bytes] = field(default_factory=list)

    @property
    def doubled(self) -> dict[tuple[str, int], int]:
        return {event: count for event, count in self.events.items() if count > 1}

    def missing(self, producer: str, acknowledged: int) -> set[int]:
        """Sequence numbers below *acknowledged* that the log does not hold."""
        return set(range(acknowledged)) - {seq for name, seq in self.events if name == producer}


def read(folder: Path, stem: str = "app") -> Found:
    """What the files of the log *stem* hold."""
    found = Found()
    for path in segments(str(folder), stem):
        *lines, rest = Path(path).read_bytes().split(b"\n")
        found.torn += [rest] if rest else []
        for line in lines:
            try:
                fields = json.loads(line)["fields"]
                found.events[fields["producer"], fields["seq"]] += 1
            except (ValueError, KeyError, TypeError):
                found.torn.append(line)
    return found
