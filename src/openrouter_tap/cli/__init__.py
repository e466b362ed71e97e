"""The command ``openrouter-tap``. Needs the extra ``cli``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command."""
    try:
        from openrouter_tap.cli._commands import commands
    except ModuleNotFoundError as error:
        sys.exit(f"openrouter-tap: {error.name} is missing; the command needs: pip install 'openrouter-tap[cli]'")
    commands()
