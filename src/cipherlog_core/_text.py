"""Records as text for people: one line each, in which nothing that was logged can pass for something else.

Control characters, escape sequences of terminals and marks that turn the direction of writing are shown as escapes, so
that no value begins a line of its own or hides what stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from cipherlog_core._encode import LINE_LIMIT, TEXT_LIMIT, encode, fit

__all__ = ["text_line"]

_ROOM = LINE_LIMIT // 2 - 8192  # bytes of fields as JSON: escapes can double them
_INDENT = "    "
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
_LATIN = 0x100
_NAMES = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}
_BARE = re.compile(r"[^\s\"'=\\{}\[\],]+")


def text_line(ts: str, level: str, logger: str, event: str, fields: Mapping[str, object]) -> tuple[bytes, bool]:
    """The line of a record, and whether something had to be cut.

    ``fields["message"]`` stands in place of the event's name. An exception in ``fields["exc"]`` follows on lines of
    its own, which begin with spaces.
    """
    data, is_cut = encode(dict(fields)), False
    if len(data) > TEXT_LIMIT:
        data, is_cut = fit(fields, _ROOM)
    plain: dict[str, Any] = msgspec.json.decode(data)
    exc, message = plain.pop("exc", None), plain.pop("message", event)
    facts = [f"{_visible(name)}={_shown(value)}" for name, value in plain.items() if value is not None]
    line = " ".join([ts, f"{level:<8}", _visible(logger), _visible(str(message)), *facts])
    return "\n".join([line, *(_traceback(exc) if isinstance(exc, dict) else []), ""]).encode(), is_cut


def _visible(text: str) -> str:
    return _HIDDEN.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    return _NAMES.get(character) or (f"\\x{code:02x}" if code < _LATIN else f"\\u{code:04x}")


def _shown(value: Any) -> str:
    bare = isinstance(value, str) and _BARE.fullmatch(value)
    return _visible(value if bare else encode(value).decode())


def _traceback(exc: Mapping[str, Any], word: str = "") -> list[str]:
    lines = [f"{_INDENT}{word}{_visible(str(exc.get('type')))}: {_visible(str(exc.get('message')))}"]
    lines += [f"{_INDENT}  at {_visible(str(frame))}" for frame in exc.get("stack") or ()]
    cause = exc.get("cause")
    return lines + (_traceback(cause, "caused by ") if isinstance(cause, dict) else [])
