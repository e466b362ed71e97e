"""Imported by each Python that starts below `openrouter-tap run`, whichever Python that is.

It imports next to nothing itself. Once `httpx` or `httpx2` is imported it waits for the first client to be made, and
only then imports the tap: a process without clients pays nothing, ``httpx2.alias_httpx()`` and gevent's patching are
still free to come first, and the import falls into the start of a program and not into its first call.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock
from functools import wraps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
_LIBRARIES = ("httpx", "httpx2")
_OFF = ("false", "0", "no", "off")  # the tap's own words, which cannot be asked for before it is imported

_lock = RLock()
_is_done = False


def _instrument() -> None:
    global _is_done
    with _lock:
        if not _is_done:
            try:
                import openrouter_tap

                openrouter_tap.instrument()
            except Exception as fault:  # noqa: BLE001
                _notice(fault)
            _is_done = True


def _notice(fault: Exception) -> None:
    import logging

    logging.getLogger("openrouter_tap").warning(
        "openrouter-tap run: the calls of this process are not recorded; %s cannot use the tap: %r",
        sys.executable,
        fault,
    )


def _watch(library: Any) -> None:
    """Instrument when the first client of *library* is made."""
    for kind in (library.Client, library.AsyncClient):
        kind.__init__ = _preceded(kind.__init__)


def _preceded(make: Any) -> Any:
    @wraps(make)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        if not _is_done:
            _instrument()
        make(self, *args, **kwargs)

    return __init__


class _Finder:
    """Finds nothing by itself: has the libraries found by the others, and is told when they are loaded."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in _LIBRARIES:
            return None
        for finder in list(sys.meta_path):
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    _await(spec.loader)
                    return spec
        return None


def _await(loader: Any) -> None:
    def exec_module(module: Any) -> None:
        del loader.exec_module
        loader.exec_module(module)
        try:
            if module.__name__ in _LIBRARIES:  # a zip has one loader for all its modules
                _watch(module)
        except Exception as fault:  # noqa: BLE001
            _notice(fault)

    try:
        loader.exec_module = exec_module
    except Exception as fault:  # noqa: BLE001
        _notice(fault)


def _chain() -> None:
    """Import the `sitecustomize` that this one hides, if there is one; its errors are for `site` to report."""
    sys.path[:] = [folder for folder in sys.path if folder != _HERE]
    was_first = _folders()[0] == _HERE
    this = sys.modules.pop(__name__)
    try:
        __import__(__name__)
    except ImportError as error:
        if error.name != __name__:
            raise
    finally:
        sys.modules.setdefault(__name__, this)
        folders = _folders()
        if was_first and _HERE in folders[1:]:  # OpenTelemetry's puts its own folder first: it would hide ours below
            folders.remove(_HERE)
            os.environ["PYTHONPATH"] = os.pathsep.join([_HERE, *folders])


def _folders() -> list[str]:
    return os.environ.get("PYTHONPATH", "").split(os.pathsep)


if __name__ == "sitecustomize":
    if os.environ.get("OPENROUTER_TAP", "").strip().lower() not in _OFF:
        sys.meta_path.insert(0, _Finder())
        for _name in _LIBRARIES:
            if _name in sys.modules:  # a .pth file was first
                _watch(sys.modules[_name])
    _chain()
