"""Start a program whose every process is tapped, without a change to it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import NoReturn

__all__ = ["run"]

_STARTUP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_startup")
_IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFSZ")
_HIDES_OURS = "opentelemetry-instrument"
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127  # as shells, env and nohup say it


def run(command: tuple[str, ...]) -> NoReturn:
    """Become *command*: the process, its standard streams, signals and exit code are the program's own.

    What begins like an option or names a Python file is handed to the Python that runs this.
    """
    if not command[0]:
        sys.stderr.write("openrouter-tap run: the name of the program is empty\n")
        sys.exit(_NOT_FOUND)
    if command[0].startswith("-") or command[0].endswith(".py"):
        command = (sys.executable, *command)
    if os.path.basename(command[0]) == _HIDES_OURS:
        sys.stderr.write(
            f"openrouter-tap run: {_HIDES_OURS} keeps the tap out of what it starts; it belongs in front: "
            f"{_HIDES_OURS} openrouter-tap run ...\n"
        )
    for name in _IGNORED_BY_PYTHON:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, _environment(os.environ))  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"openrouter-tap run: {command[0]}: {error.strerror}\n")
        sys.exit(_NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE)


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """*given*, with the folder of our `sitecustomize` first on PYTHONPATH: children inherit it.

    The rest of it stays as it is, empty entries too: they are the folder in which a Python starts.
    """
    path = given.get("PYTHONPATH")
    folders = [folder for folder in path.split(os.pathsep) if folder != _STARTUP] if path else []
    return {**given, "PYTHONPATH": os.pathsep.join([_STARTUP, *folders])}
