"""The commands and their options. Data goes to stdout, all else to stderr."""

from __future__ import annotations

import sys

import click
from rich.console import Console

from cipherlog_core import Settings
from openrouter_tap.report import NoLogError, read_report, show

__all__ = ["commands"]

WRONG, NO_LOGS, UNREADABLE = 1, 3, 4

_WIDE = 140  # columns where the output is no terminal


@click.group(invoke_without_command=True)
@click.version_option(package_name="openrouter-tap")
@click.pass_context
def commands(context: click.Context) -> None:
    """What your program's calls through OpenRouter cost. Without a command: the report.

    Exit codes: 0 fine, 1 the check says no, 2 wrong usage, 3 no logs found, 4 some input unreadable (the result is
    still printed).
    """
    if context.invoked_subcommand is None:
        context.invoke(report)


@commands.command()
@click.argument("folder", required=False)
@click.option(
    "--since", default="", metavar="TIME", help="Only calls from this time on (UTC), such as 2026-11-23T08:00."
)
def report(folder: str | None = None, since: str = "") -> None:
    """Cost, tokens and latency by model, from all files in FOLDER (default: $LOG_DIR, else logs).

    Example: openrouter-tap report /var/log/app --since 2026-11-01
    """
    try:
        result = read_report(folder or Settings.from_env().dir, since=since)
    except NoLogError as error:
        click.echo(f"{error}. Nothing was logged there yet, or LOG_DIR points elsewhere.", err=True)
        sys.exit(NO_LOGS)
    show(result, console())
    if result.torn:
        sys.exit(UNREADABLE)


@commands.command()
def demo() -> None:
    """Drive a local OpenRouter look-alike through the tap, and show the report. Costs nothing, needs no key."""
    try:
        from openrouter_tap.cli._demo import run
    except ModuleNotFoundError as error:
        sys.exit(f"openrouter-tap demo: {error.name} is missing; it needs: pip install 'openrouter-tap[all]'")
    run(console())


@commands.command()
def doctor() -> None:
    """What is in force, where it came from, and whether something is wrong with the logs. Changes nothing.

    Exit code 1 if something is wrong. Example: LOG_DIR=/var/log/app openrouter-tap doctor
    """
    from openrouter_tap.cli._doctor import examine

    if not examine(console()):
        sys.exit(WRONG)


def console() -> Console:
    """Standard output; as wide as the table where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else _WIDE)
