"""A report as a table for people."""

from __future__ import annotations

from decimal import Decimal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from openrouter_tap.report._read import Report, Row

__all__ = ["printable", "show"]

_UNKNOWN = "?"


def show(report: Report, console: Console) -> None:
    """Print *report*: the table, then what a reader must know to trust it."""
    width = console.width
    table, left_out, needed = _table(report, width)
    console.print(_title(report), style="italic", highlight=False)
    console.width = max(width, needed)
    console.print(table)
    console.width = width
    notes = _notes(report)
    if left_out:
        notes.append(f"Left out for want of room: {', '.join(left_out)}.")
    for line in notes:
        console.print(printable(line), highlight=False, markup=False)


def printable(text: str) -> str:
    """*text*, which may come from a reply, without what could steer a terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _table(report: Report, width: int) -> tuple[Table, list[str], int]:
    """The table, the headings of the columns for which *width* leaves no room, and the width that the others need."""
    places = _places([row.cost for row in report.rows])
    total, *rows = ([printable(row.model), *_cells(row, places)] for row in [report.total, *report.rows])
    columns = list(zip(_HEADINGS, *(row[1:] for row in [total, *rows]), strict=True))
    widths = [max(map(len, [*heading.split("\n"), *cells])) for heading, *cells in columns]
    shown, left_out = set(range(len(columns))), []
    for place in _FIRST_TO_GO:
        if _NAME + sum(widths[one] + 1 for one in shown) + 2 <= width:
            break
        shown.remove(place)
        left_out.append(" ".join(_HEADINGS[place].split()))
    table = Table(box=box.SIMPLE_HEAD, show_footer=True, padding=0)
    numbers = sum(widths[one] + 1 for one in shown) + 2
    room = max(_NAME, width - numbers)
    table.add_column("\nmodel", Text(total[0]), overflow="ellipsis", max_width=room, no_wrap=True)
    for place in sorted(shown):
        heading, footer = columns[place][:2]
        table.add_column(heading, footer, justify="right", no_wrap=True, min_width=widths[place])
    for row in rows:
        table.add_row(Text(row[0]), *(row[1 + place] for place in sorted(shown)))
    return table, left_out, _NAME + numbers  # rich would cut numbers to squeeze it into less


_NAME = 12  # columns that a model's name has at least
_HEADINGS = [
    "\ncalls",
    "not\nok",
    "tokens\nin",
    "\ncached",
    "\nout",
    "\ncost",
    "cost\n?",
    "\nmedian",
    "\np95",
    "first\ntoken",
]
_FIRST_TO_GO = (8, 9, 3, 1, 4, 2, 7)  # in a narrow terminal; calls, cost and what is not known of it stay


def _cells(row: Row, places: int) -> list[str]:
    return [
        f"{row.calls:,}",
        f"{row.not_completed:,}",
        _count(row.prompt),
        _count(row.cached),
        _count(row.completion),
        _usd(row.cost, places),
        f"{row.unknown_cost:,}",
        _ms(row.latency_median_ms),
        _ms(row.latency_p95_ms),
        _ms(row.ttft_median_ms),
    ]


def _usd(cost: Decimal | None, places: int) -> str:
    if cost is None:
        return _UNKNOWN
    return f"{cost:,.{places}f}" if cost else "0"


def _title(report: Report) -> str:
    if report.since is None or report.until is None:
        return "OpenRouter calls: none"
    return f"OpenRouter calls from {report.since[:19]} to {report.until[:19]} UTC"


def _notes(report: Report) -> list[str]:
    notes = ["Cost in US dollars, times in milliseconds."]
    if count := report.total.unknown_cost:
        notes.append(f"Cost ?: the cost of {_number(count, 'call')} is unknown and in no sum.")
    if report.dropped:
        notes.append(f"The log itself says that {_number(report.dropped, 'event')} got lost: the sums are too low.")
    if report.torn:
        notes.append(f"{_number(report.torn, 'line')} {'is' if report.torn == 1 else 'are'} torn or no record.")
    notes += [f"Cannot be read: {trouble}." for trouble in report.unreadable]
    if report.recovered:
        notes.append(f"{_number(report.recovered, 'record')} of killed processes have just been brought in.")
    if report.in_place:
        notes.append(f"What killed processes left stays in their rings ({report.in_place}); it is in the sums.")
    if report.oldest and report.oldest_file:
        files = _number(report.files, "file")
        notes.append(f"Oldest event on disk: {report.oldest[:19]} UTC, in {report.oldest_file} ({files} in all).")
    return notes


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _places(costs: list[Decimal | None]) -> int:
    """Decimal places that show two digits of the smallest cost: what is not 0 never looks like 0."""
    smallest = min((cost for cost in costs if cost), default=Decimal(1))
    return min(20, max(4, 1 - smallest.adjusted()))


def _count(number: int | None) -> str:
    return _UNKNOWN if number is None else f"{number:,}"


def _ms(time: float | None) -> str:
    return "-" if time is None else f"{time:,.0f}"
