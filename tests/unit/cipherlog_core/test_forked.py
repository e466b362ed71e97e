from __future__ import annotations

import ctypes
import mmap
import os

import pytest

from cipherlog_core import _fork


@pytest.mark.parametrize("here", [_fork._page(), _fork._Pid()], ids=["page", "pid"])
def test_a_child_does_not_know_itself(here: mmap.mmap | _fork._Pid, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is marked: though C forked it, so that no hook ran there; and its parent still knows itself."""
    monkeypatch.setattr(_fork, "HERE", here)
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
