"""A report as a table for people."""

from __future__ import annotations

from decimal import Decimal

from rich import box
from rich.console import Console
from rich.table import Table

from openrouter_tap.report._read import Report, Row

__all__ = ["show"]

_UNKNOWN = "?"


def show(report: Report, console: Console) -> None:
    """Print *report*: the table, then what a reader must know to trust it."""
    console.print(_table(report))
    for line in _notes(report):
        console.print(line, highlight=False)


def _table(report: Report) -> Table:
    places = _places([row.cost for row in report.rows])
    total, *rows = ([row.model, *_cells(row, places)] for row in [report.total, *report.rows])
    table = Table(title=_title(report), box=box.SIMPLE_HEAD, show_footer=True, title_justify="left", padding=0)
    table.add_column("\nmodel", total[0], overflow="ellipsis", min_width=12)
    for heading, *cells in zip(_HEADINGS, *(row[1:] for row in [total, *rows]), strict=True):
        width = max(map(len, [*heading.split("\n"), *cells]))  # a narrow terminal cuts names, never numbers
        table.add_column(heading, cells[0], justify="right", no_wrap=True, min_width=width)
    for row in rows:
        table.add_row(*row)
    return table


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
