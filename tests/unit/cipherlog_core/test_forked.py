from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import ctypes, os, sys
from cipherlog_core import _fork
here = _fork.HERE = getattr(_fork, sys.argv[1])()
assert not here[0]
_fork.mark()
assert here[0]
pid = ctypes.PyDLL(None).fork()
if not pid:
    before = here[0]
    _fork.mark()
    os._exit(0 if not before and here[0] else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert here[0]
"""


@pytest.mark.parametrize("kind", ["_page", "_Pid"])
def test_a_child_does_not_know_itself(kind: str) -> None:
    """Until it is marked: though C forked it, so that no hook ran there; and its parent still knows itself."""
    # A process of its own: where another thread runs, a child without hooks may wait for Python's lock for good.
    subprocess.run([sys.executable, "-c", CODE, kind], check=True, timeout=60)
