"""What the calls in a log cost: read with DuckDB, shown as a table. Needs the extra ``cli``."""

from __future__ import annotations

from openrouter_tap.report._read import NoLogError, Report, Row, read_report
from openrouter_tap.report._show import show

__all__ = ["NoLogError", "Report", "Row", "read_report", "show"]
