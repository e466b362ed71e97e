"""The command ``openrouter-tap``. Needs the extra ``cli``."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

__all__ = ["main"]


def main() -> None:
    """Run the command."""
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
