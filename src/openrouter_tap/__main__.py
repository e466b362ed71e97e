"""``python -m openrouter_tap`` is the command ``openrouter-tap``."""

from __future__ import annotations

from openrouter_tap.cli import main

main()
