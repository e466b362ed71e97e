"""For programs that read logs: which files hold a log, and how to have in them what dead processes left behind."""

from __future__ import annotations

from cipherlog_core._recover import Recovered, recover
from cipherlog_core._rotation import segments

__all__ = ["Recovered", "recover", "segments"]
