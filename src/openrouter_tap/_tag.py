"""What the caller says of its calls."""

from __future__ import annotations

from openrouter_tap._bridge import Context, Scope, current, notice, pin

__all__ = ["tag"]

_MOST = 16
_LONGEST = 256


def tag(
    *, session_id: str | None = None, tier_id: str | None = None, tool: str | None = None, **tags: str
) -> Scope[Context]:
    """Mark the calls that begin in this task or thread, until the end of the ``with`` block if it opens one.

    *session_id* and *tool* fill the record's own keys, ahead of what `cipherlog_core.bind` says. *tags* are texts: at
    most 16 of at most 256 characters are recorded. A block inside another adds to it.
    """
    pinned = current().pinned
    given = {"session_id": session_id, "tier_id": tier_id, "tool": tool}
    outer = pinned.get("tags")
    merged = {**(outer if isinstance(outer, dict) else {}), **{key: str(text)[:_LONGEST] for key, text in tags.items()}}
    if len(merged) > _MOST:
        notice("tags", f"tag(): more than {_MOST} tags; {', '.join(list(merged)[_MOST:])} are not recorded.")
        merged = dict(list(merged.items())[:_MOST])
    return pin(tags=merged, **{key: str(text)[:_LONGEST] for key, text in given.items() if text is not None})
