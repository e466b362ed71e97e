"""The command ``openrouter-tap``. Needs the extra ``cli``."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress

__all__ = ["main"]


def main() -> None:
    """Run the command."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed, as by >&-: the next file that is opened must not get its number
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names come from replies, and the encoding from the user
    try:
        from openrouter_tap.cli._commands import commands
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"openrouter-tap: {error.name} is missing; the command needs: pip install 'openrouter-tap[cli]'\n"
        )
        sys.exit(2)  # 1 would be the verdict of a check
    try:
        commands()
    except OSError as error:  # a full disk behind stdout
        with suppress(OSError, ValueError):  # or Python fails once more, at its end, with what is still to be written
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.stderr.write(f"openrouter-tap: {error}\n")
        sys.exit(2)
