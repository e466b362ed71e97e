"""A call's cost, told by the program itself: for calls that no tap sees."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any, get_args

import msgspec

from openrouter_tap._bridge import current, lost, notice, record, shown
from openrouter_tap._event import CallError, CallEvent, Cost, Tokens
from openrouter_tap._tag import as_text, merged_tags

__all__ = ["log_cost"]

_HTTP_ERROR = 400
_SOURCES = get_args({field.name: field.type for field in msgspec.structs.fields(Cost)}["source"])
_KNOWN = [source for source in _SOURCES if source != "unknown"]
_MOST: dict[type, float] = {int: 1 << 63, float: float("inf")}


def log_cost(
    model: str | None,
    tokens: Tokens | Mapping[str, Any] | None = None,
    cost: Cost | Mapping[str, Any] | float | Decimal | str | None = None,
    *,
    tier_id: str | None = None,
    session_id: str | None = None,
    request_id: str | None = None,
    latency_ms: float | None = None,
    http_status: int | None = None,
    generation_id: str | None = None,
    tool: str | None = None,
    **tags: str,
) -> bool:
    """Log what a call cost to ``openrouter-costs.jsonl``: a drop-in for a hand-written function of this name.

    *tokens*: counts under the names of `Tokens`, or under those of a ``usage`` object (``prompt_tokens`` …). *cost*: US
    dollars, the total alone or a mapping with the names of `Cost`; without a total it is the sum of input,
    output and other where the first two are given. What is not given is null, and what is no count and no money too,
    with a notice. *tier_id*, *session_id*, *tool* and *tags* add to those of `tag`.

    The source of a known total is ``caller``, or what a `Cost` says. Returns True when the record is safe from the
    death of the process, False when it was dropped, which `cipherlog_core.stats` counts. Never raises.
    """
    try:
        context = current()
        status = _fact("http_status", http_status, int)
        event = CallEvent(
            provider="openrouter",
            tier_id=_text(tier_id) or context.pinned.get("tier_id"),
            model=_text(model),
            request_model=None,
            upstream_provider=None,
            generation_id=_text(generation_id),
            call_id=None,
            attempt=None,
            host=None,
            endpoint="other",
            streamed=None,
            http_status=status,
            outcome="http_error" if status is not None and status >= _HTTP_ERROR else "completed",
            error=CallError(str(status)) if status is not None and status >= _HTTP_ERROR else None,
            latency_ms=_fact("latency_ms", latency_ms, float),
            headers_ms=None,
            ttft_ms=None,
            tokens=_tokens(tokens),
            cost=_cost(cost),
            finish_reason=None,
            service_tier=None,
            bytes_in=None,
            trace_id=None,
            span_id=None,
            tags=merged_tags(context.pinned, tags),
        )
        bound = context.ids
        return record(
            event,
            bound[0] if tool is None else as_text(tool),
            bound[1] if session_id is None else as_text(session_id),
            (bound[2] or event.generation_id) if request_id is None else as_text(request_id),
        )
    except Exception as error:  # noqa: BLE001  whatever was passed, the caller goes on
        notice(f"log_cost: {type(error)}", f"log_cost(): the cost could not be logged: {shown(error)}.")
        return lost()


def _text(value: object) -> str | None:
    return None if value is None else as_text(value)


def _tokens(given: Tokens | Mapping[str, Any] | None) -> Tokens:
    values = _mapping("tokens", given)
    names = [field.name for field in msgspec.structs.fields(Tokens)]
    return Tokens(
        **{name: _fact(f"tokens.{name}", values.get(name, values.get(f"{name}_tokens")), int) for name in names}
    )


def _cost(given: Any) -> Cost:
    values = {"total": given} if given is None or isinstance(given, int | float | Decimal | str) else given
    values = _mapping("cost", values)
    amounts = {
        name: _fact(f"cost.{name}", values.get(name), float)
        for name in ("input", "output", "other", "total", "upstream")
    }
    if amounts["total"] is None and amounts["input"] is not None and amounts["output"] is not None:
        amounts["total"] = float(sum(Decimal(repr(amounts[name] or 0.0)) for name in ("input", "output", "other")))
    is_byok = values.get("is_byok")
    return Cost(
        **amounts,
        is_byok=is_byok if isinstance(is_byok, bool) else None,
        source=_source(given, amounts["total"]),
    )


def _source(given: object, total: float | None) -> Any:
    if total is None:
        return "unknown"
    told = given.source if isinstance(given, Cost) else "caller"
    return told if told in _KNOWN else "caller"


def _mapping(name: str, given: Any) -> dict[str, Any]:
    with suppress(Exception):  # of a caller's own mapping
        if given is None or isinstance(given, Mapping):
            return dict(given or {})
        if isinstance(given, Tokens | Cost):
            return msgspec.structs.asdict(given)
    notice(f"log_cost {name}", f"log_cost(): {name}={shown(given)} is no mapping: it is logged as null.")
    return {}


def _fact(name: str, value: Any, kind: type[Any]) -> Any:
    """*value* as a number that is not negative; None, with a notice, where it is none."""
    if value is None:
        return None
    with suppress(Exception):  # of a caller's own object
        number = kind(value) if not isinstance(value, bool) else None
        if number is not None and 0 <= number < _MOST[kind] and number == float(value):
            return number
    notice(f"log_cost {name}", f"log_cost(): {name}={shown(value)} is no such number: it is logged as null.")
    return None
