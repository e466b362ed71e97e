"""Records as text for people: one line each, in which nothing that was logged can pass for something else.

Control characters, escape sequences of terminals and marks that turn the direction of writing are shown as escapes, so
that no value begins a line of its own or hides what stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from cipherlog_core._encode import LINE_LIMIT, encode, fit
from cipherlog_core._redact import clean, clean_text

__all__ = ["text_line"]

_ROOM = LINE_LIMIT // 2 - 8192  # bytes of fields as JSON: escapes can double them
_INDENT = "    "
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0001-\U000e007f]"
)
_BARE = re.compile(r"[^\s\"'=\\{}\[\],]+")


def text_line(ts: str, level: str, logger: str, event: str, fields: Mapping[str, object]) -> tuple[bytes, bool]:
    """The line of a record, and whether something had to be cut.

    ``fields["message"]`` stands in place of the name `log`. An exception in ``fields["exc"]`` follows on lines of
    its own, which begin with spaces.
    """
    data, is_cut = fit(fields, _ROOM)
    plain: dict[str, Any] = msgspec.json.decode(clean(data))
    exc = plain.pop("exc") if isinstance(plain.get("exc"), dict) else None
    message = plain.pop("message", event) if event == "log" else event
    facts = [f"{_shown(name)}={_shown(value)}" for name, value in plain.items() if value is not None]
    line = " ".join([ts, f"{level:<8}", _visible(clean_text(logger)), _visible(clean_text(str(message))), *facts])
    return "\n".join([line, *(_traceback(exc) if exc else []), ""]).encode(), is_cut


def _visible(text: str) -> str:
    return _HIDDEN.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _shown(value: Any) -> str:
    bare = isinstance(value, str) and _BARE.fullmatch(value)
    return _visible(value if bare else encode(value).decode())


def _traceback(exc: Mapping[str, Any], word: str = "") -> list[str]:
    lines = [f"{_INDENT}{word}{_visible(str(exc.get('type')))}: {_visible(str(exc.get('message')))}"]
    lines += [f"{_INDENT}  note: {_visible(str(note))}" for note in _list(exc.get("notes"))]
    lines += [f"{_INDENT}  at {_visible(str(frame))}" for frame in _list(exc.get("stack"))]
    for inner in _list(exc.get("exceptions")):
        lines += _traceback(inner, "within it ") if isinstance(inner, dict) else [f"{_INDENT}{_visible(str(inner))}"]
    cause = exc.get("cause")
    return lines + (_traceback(cause, "caused by ") if isinstance(cause, dict) else [])


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
