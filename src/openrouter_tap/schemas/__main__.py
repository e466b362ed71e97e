"""``python -m openrouter_tap.schemas`` writes the schema files anew."""

from __future__ import annotations

from openrouter_tap.schemas import main

main()
