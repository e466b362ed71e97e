"""Which attempts belong to one call of an SDK.

SDKs made by Stainless (openai, anthropic) count their retries in a header, from 0 on. Other clients (the openrouter
SDK, transports that retry, auth flows) send the same `Request` object again. Both happen in the task or thread of the
first attempt, so what is to be remembered stands in a context variable.
"""

from __future__ import annotations

import random
import time
from contextvars import ContextVar
from typing import Any, NamedTuple
from weakref import ref

__all__ = ["Attempt", "attempt_of", "last"]


class Attempt(NamedTuple):
    """One attempt: its number, from 1, the call that it belongs to, its request, which is not kept alive, its end."""

    number: int
    call_id: str
    request: ref[Any]
    ended: int


last: ContextVar[Attempt | None] = ContextVar("openrouter_tap_attempt", default=None)
"""The last attempt of this context that counts: one with a header, or one that was not answered well."""


def attempt_of(request: Any, retries: int | None, *, is_well: bool) -> tuple[int, str | None]:
    """The number of an attempt and its call's id; None where it is not known whether there were others before.

    *retries*: what the header says, None without one. *is_well*: an attempt that no other will follow.
    """
    before = last.get()
    if before is not None and (before.request() is request if retries is None else before.number == retries):
        attempt = Attempt(before.number + 1, before.call_id, ref(request), time.perf_counter_ns())
    elif is_well if retries is None else retries > 0:
        return (retries or 0) + 1, None
    else:
        attempt = Attempt(1, f"{random.getrandbits(96):024x}", ref(request), time.perf_counter_ns())
    last.set(attempt)
    return attempt.number, attempt.call_id
