"""What the caller says of its calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openrouter_tap._bridge import MARK, Context, Scope, clean_text, current, is_secret, notice, pin, printed

__all__ = ["as_text", "merged_tags", "tag"]

_MOST = 16
_LONGEST = 256


def tag(
    *, session_id: str | None = None, tier_id: str | None = None, tool: str | None = None, **tags: str
) -> Scope[Context]:
    """Mark the calls that begin in this task or thread, until the end of the ``with`` block if it opens one.

    *session_id* and *tool* fill the record's own keys, ahead of what `cipherlog_core.bind` says. *tags* are texts: at
    most 16 of at most 256 characters are recorded. A block inside another adds to it.
    """
    given = {"session_id": session_id, "tier_id": tier_id, "tool": tool}
    texts = {key: as_text(value) for key, value in given.items() if value is not None}
    return pin(tags=merged_tags(current().pinned, tags), **texts)


def merged_tags(pinned: Mapping[str, Any], more: Mapping[str, object]) -> dict[str, str]:
    """The tags of the block around, and *more*."""
    outer = pinned.get("tags")
    tags: dict[str, str] = outer if isinstance(outer, dict) else {}
    if not more:
        return tags
    tags = {
        **tags,
        **{
            as_text(key): MARK if is_secret(key) else as_text(value) for key, value in more.items() if value is not None
        },
    }
    if len(tags) > _MOST:
        notice("tags", f"more than {_MOST} tags; {', '.join(list(tags)[_MOST:])} are not recorded.")
        tags = dict(list(tags.items())[:_MOST])
    return tags


def as_text(value: object) -> str:
    """*value* as a text of the length that is recorded."""
    return clean_text(value if isinstance(value, str) else printed(value))[:_LONGEST]
