"""The commands and their options. Data goes to stdout, all else to stderr."""

from __future__ import annotations

import os
import re
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import click
from rich.console import Console

from cipherlog_core import Settings
from openrouter_tap.report import NoLogError, read_report, show

__all__ = ["commands"]

WRONG, USAGE, NO_LOGS, UNREADABLE = 1, 2, 3, 4

_MINUTES = {"m": 1, "h": 60, "d": 1440}
_WIDE = 140  # columns where the output is no terminal


class Moment(click.ParamType[datetime]):
    """A point in time, as ISO 8601 or as how long ago."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment in UTC, also where no zone is named."""
        if isinstance(value, datetime):
            return value
        try:
            if match := re.fullmatch(r"(\d{1,6})([mhd])", value):
                return datetime.now(UTC) - timedelta(minutes=int(match[1]) * _MINUTES[match[2]])
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):  # a year before 1 or after 9999
            self.fail(f"{value!r} is no time: 2026-11-23, 2026-11-23T08:00, or 30m, 24h, 7d ago", param, ctx)


def _no_log(error: NoLogError) -> NoReturn:
    click.echo(
        f"{error}. Nothing was logged there yet, or LOG_DIR points elsewhere, or OPENROUTER_TAP is off, or the host "
        "that was called is not tapped (OPENROUTER_TAP_HOSTS).",
        err=True,
    )
    sys.exit(NO_LOGS)


def _lacking(command: str, error: ModuleNotFoundError, extra: str) -> NoReturn:
    click.echo(
        f"openrouter-tap {command}: {error.name} is missing; it needs: pip install 'openrouter-tap[{extra}]'", err=True
    )
    sys.exit(USAGE)


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
    "--since",
    type=Moment(),
    metavar="TIME",
    help="Only calls from this time on: 2026-11-23, 2026-11-23T08:00 (UTC), 2026-11-23T08:00+01:00, or 30m, 24h, 7d.",
)
def report(folder: str | None = None, since: datetime | None = None) -> None:
    """Cost, tokens and latency by model, from all files in FOLDER (default: $LOG_DIR, else logs).

    Example: openrouter-tap report /var/log/app --since 2026-11-01
    """
    folder = folder or Settings.from_env().dir
    if os.path.isfile(folder):
        raise click.BadParameter(f"{folder} is a file; the report is on its folder, {os.path.dirname(folder) or '.'}")
    try:
        result = read_report(folder, since=since)
    except NoLogError as error:
        _no_log(error)
    show(result, console())
    if result.torn or result.unreadable:
        sys.exit(UNREADABLE)


@commands.command()
def demo() -> None:
    """Drive a local OpenRouter look-alike through the tap, and show the report. Costs nothing, needs no key.

    The calls are logged to the folder demo in $LOG_DIR, else in logs: they are in no report on your program's calls.
    """
    try:
        from openrouter_tap.cli._demo import run
    except ModuleNotFoundError as error:
        _lacking("demo", error, "all")
    try:
        run(console())
    except NoLogError as error:
        _no_log(error)


@commands.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="0 takes a free one.")
def simulate(port: int) -> None:
    """Serve a local OpenRouter look-alike on 127.0.0.1 until Ctrl-C, for programs in any language. Needs no key.

    The first line on stdout is the base URL. To point a program at it and have its calls metered, set:
    OPENAI_BASE_URL=http://127.0.0.1:8787/api/v1 OPENROUTER_TAP_HOSTS=127.0.0.1:8787
    """
    try:
        from openrouter_tap.simulator import MODELS, running
    except ModuleNotFoundError as error:
        _lacking("simulate", error, "all")
    try:
        with running(port=port) as origin:
            click.echo(f"{origin}/api/v1")
            click.echo(f"Models: {', '.join(MODELS)}. Ctrl-C stops it. To call it, and to have it metered:", err=True)
            host = origin.removeprefix("http://")
            click.echo(f"OPENAI_BASE_URL={origin}/api/v1 OPENROUTER_TAP_HOSTS={host}", err=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        return
    except OSError as error:
        raise click.UsageError(f"port {port} cannot be had: {error}. Try another --port; 0 takes a free one.") from None


@commands.command()
def doctor() -> None:
    """What is in force, where it came from, and whether something is wrong with the logs. Changes nothing.

    Exit code 1 if something is wrong. Example: LOG_DIR=/var/log/app openrouter-tap doctor
    """
    from openrouter_tap.cli._doctor import examine

    if not examine(console()):
        sys.exit(WRONG)


@commands.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(command: tuple[str, ...]) -> None:
    """Start COMMAND with every httpx and httpx2 client in it tapped, in each Python process below it too.

    Exit code, signals and standard streams are those of COMMAND. OPENROUTER_TAP=off leaves it untapped.

    Examples: openrouter-tap run -- python app.py, openrouter-tap run gunicorn -w 2 app:app,
    openrouter-tap run -m my.module
    """
    from openrouter_tap.cli._run import run as start

    start(command)


@commands.command()
@click.option("--once", is_flag=True, help="End when all that is there has been shipped.")
@click.option("--dir", "folder", metavar="FOLDER", help="The log folder (default: $LOG_DIR, else logs).")
@click.option(
    "--endpoint",
    metavar="URL",
    help="The receiver's base URL (default: $LOG_OTLP_ENDPOINT, else as the OTEL_EXPORTER_OTLP_ variables say).",
)
@click.option("--protocol", type=click.Choice(["http/protobuf", "grpc"]), help="Default: http/protobuf.")
def ship(once: bool, folder: str | None, endpoint: str | None, protocol: str | None) -> None:
    """Ship the logs in a folder to an OpenTelemetry receiver (OTLP), at least once and in their order, and go on.

    Exit code 1 if something could not be delivered or was refused, or if another process ships the folder.
    Example: openrouter-tap ship --dir /var/log/app --endpoint http://collector:4318
    """
    try:
        from openrouter_tap.cli._ship import run
    except ModuleNotFoundError as error:
        _lacking("ship", error, "otlp")
    settings = Settings.from_env()
    try:
        code = run(folder or settings.dir, settings, endpoint or settings.otlp_endpoint, protocol, once=once)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    sys.exit(code)


def console() -> Console:
    """Standard output; as wide as the table where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else _WIDE)
