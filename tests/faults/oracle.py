"""The exact-set oracle: which numbered events a log holds, how often, and which lines are torn."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from conftest import checked, content
from fastjsonschema import JsonSchemaException

from cipherlog_core.reading import segments


@dataclass
class Verdict:
    """What is wrong with a log, compared with what was acknowledged; all empty when it is right."""

    missing: set[tuple[str, int]] = field(default_factory=set)
    doubled: set[tuple[str, int]] = field(default_factory=set)
    invented: set[tuple[str, int]] = field(default_factory=set)
    """More than the one event a producer that if it had returned would have been acknowledged next."""
    torn: list[bytes] = field(default_factory=list)


RIGHT = Verdict()


def read(folder: Path, stem: str = "app") -> tuple[Counter[tuple[str, int]], list[bytes]]:
    """The numbered events in a log, with their copies, and its lines that are no records."""
    found: Counter[tuple[str, int]] = Counter()
    torn = []
    for path in segments(str(folder), f"{stem}.jsonl"):
        *lines, rest = content(path).split(b"\n")
        torn += [rest] if rest else []
        for line in lines:
            try:
                record = checked(line)
                if record["event"] == "numbered":
                    found[record["fields"]["producer"], record["fields"]["seq"]] += 1
            except (ValueError, KeyError, TypeError, JsonSchemaException):
                torn.append(line)
    return found, torn


def judge(folder: Path, acknowledged: dict[str, int], stem: str = "app") -> Verdict:
    """Compare the log with *acknowledged*: by producer, the number of events from 0 on that must be there."""
    found, torn = read(folder, stem)
    expected = {(producer, seq) for producer, count in acknowledged.items() for seq in range(count)}
    published = set(acknowledged.items())
    return Verdict(
        expected - found.keys(),
        {event for event, count in found.items() if count > 1},
        found.keys() - expected - published,
        torn,
    )


def judge_kept(folder: Path, kept: set[tuple[str, int]], stem: str = "app") -> Verdict:
    """Compare the log with exactly what was *kept*: each refused event is known, and must not be there."""
    found, torn = read(folder, stem)
    doubled = {event for event, count in found.items() if count > 1}
    return Verdict(kept - found.keys(), doubled, found.keys() - kept, torn)
