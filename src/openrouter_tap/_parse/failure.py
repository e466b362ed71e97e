"""OpenRouter's error objects to a type and a code. Messages are never read: they can quote the prompt."""

from __future__ import annotations

import json
import re
from typing import Any

from msgspec import Raw

from openrouter_tap._event import CallError

__all__ = ["read_failure"]

_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def read_failure(error: Raw | None, status: int, error_type: str | None = None) -> CallError:
    """*error* as OpenRouter sends it: its ``error_type`` stands in several places, its code is a number or a text.

    On ``/responses`` the *error_type* stands beside the error.

    Without a type, the error's own status is the type, else that of the reply.
    """
    try:
        value = json.loads(bytes(error or b""))
    except (ValueError, RecursionError):
        value = None
    fields = value if isinstance(value, dict) else {}
    metadata = fields.get("metadata")
    places = (
        (metadata if isinstance(metadata, dict) else {}).get("error_type"),
        error_type,
        fields.get("error_type"),
        fields.get("type"),
    )
    code = _name(fields.get("code"))
    type_ = next((name for place in places if (name := _name(place))), None)
    return CallError(type_ or (code if code and code.isdecimal() else str(status)), code)


def _name(value: Any) -> str | None:
    """*value* if it is a name or a number; a sentence is neither."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None
