"""llm-inference whose logger writes nothing before it stops; with IN_MEMORY its rings are no files, as a queue is none.

Run as ``python late.py --port PORT``.
"""

from __future__ import annotations

import os
import runpy
from pathlib import Path

from cipherlog_core import _ring, _writer

_SERVER = Path(__file__).parents[2] / "examples" / "cipher" / "servers" / "llm_inference_mcp.py"


def _refuse(*_: object) -> None:
    raise OSError


if __name__ == "__main__":
    _writer._POLL, _writer._PATIENCE = (600.0, 600.0), 600.0
    if "IN_MEMORY" in os.environ:
        _ring.Ring.create = _refuse
    runpy.run_path(str(_SERVER), run_name="__main__")
