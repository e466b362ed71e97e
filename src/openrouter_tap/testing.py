"""For the tests of a program that calls OpenRouter: a fake one, what its calls cost, and what must not be logged.

The pytest plugin, which is there where the package is installed, makes fixtures of it: ``openrouter``, a
`FakeOpenRouter`, and ``openrouter_events``, the `Events` of the test; with either, no event goes to a file. All of it
works without pytest, too.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, overload

import msgspec

from cipherlog_core.testing import capture
from openrouter_tap._event import CallEvent
from openrouter_tap._fake import FakeOpenRouter, UnexpectedRequestError, dollars

__all__ = ["Events", "FakeOpenRouter", "UnexpectedRequestError", "assert_cost_below", "assert_no_secrets", "recorded"]

_SECRETS = {
    "an API key": r"\b(?:sk|rk|pk)-[A-Za-z0-9_-]{16,}",
    "an Authorization header": r"(?i:\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{12,})",
    "a JSON Web Token": r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "an access key of a cloud": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{35}",
    "a token of a forge": r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|glpat-[A-Za-z0-9_-]{20,})",
    "a password in a URL": r"[a-z]+://[^/\s:@]+:[^/\s:@]+@",
}
_SHORTEST = 4  # characters of a text that can be looked for


class Events(Sequence[CallEvent]):
    """The events of the calls so far, as they would stand in the cost log, in the order of their ends."""

    def __init__(self, records: list[dict[str, Any]]) -> None:
        self.records = records
        """All records of the process, those of other loggers too, as dicts."""

    def _all(self) -> list[CallEvent]:
        events = [record["fields"] for record in self.records if record["event"] == "openrouter_cost"]
        return [msgspec.convert(fields, CallEvent) for fields in events]

    @overload
    def __getitem__(self, index: int) -> CallEvent: ...
    @overload
    def __getitem__(self, index: slice) -> list[CallEvent]: ...
    def __getitem__(self, index: int | slice) -> CallEvent | list[CallEvent]:
        return self._all()[index]

    def __len__(self) -> int:
        return len(self._all())

    def __eq__(self, other: object) -> bool:
        return self._all() == list(other) if isinstance(other, Iterable) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Events({self._all()!r})"

    @property
    def cost(self) -> Decimal:
        """US dollars of all calls whose cost is known."""
        return _sum(self)


@contextmanager
def recorded() -> Iterator[Events]:
    """The `Events` of the block: of every tap of the process, and of `log_cost`. Nothing is written to a file in it."""
    with capture(bridged=False) as records:
        yield Events(records)


def assert_cost_below(events: Iterable[CallEvent], usd: Decimal | float | str, *, allow_unknown: bool = False) -> None:
    """Fail unless the calls cost less than *usd* US dollars together.

    A call whose cost is unknown fails as well, unless *allow_unknown*: it is not free. So do no calls at all: nothing
    was measured. Raises `AssertionError`, and `TypeError` or `ValueError` for what is no amount.
    """
    calls = list(events)
    limit = dollars("assert_cost_below: usd", usd)
    if not calls:
        raise AssertionError(
            "no call was recorded, so no cost was measured. Does the client go through a tap that was made with "
            "OPENROUTER_TAP and OTEL_SDK_DISABLED unset? For a program that must not call: assert not events."
        )
    unknown = [event for event in calls if event.cost.total is None]
    if unknown and not allow_unknown:
        raise AssertionError(
            f"{len(unknown)} of {len(calls)} calls have no known cost: {'; '.join(map(_told, unknown[:5]))}. "
            "allow_unknown=True leaves them out of the sum."
        )
    total = _sum(calls)
    if total >= limit:
        dearest = sorted(calls, key=lambda event: event.cost.total or 0, reverse=True)
        raise AssertionError(
            f"{len(calls)} calls cost {total} USD, which is not below {limit}. The dearest: "
            f"{'; '.join(map(_told, dearest[:5]))}."
        )


def _sum(events: Iterable[CallEvent]) -> Decimal:
    return sum((Decimal(repr(event.cost.total)) for event in events if event.cost.total is not None), Decimal(0))


def _told(event: CallEvent) -> str:
    return f"{event.model or event.request_model} ({event.endpoint}, {event.outcome}): {event.cost.total}"


def assert_no_secrets(logged: Any, *secrets: str) -> None:
    """Fail if *logged* holds one of *secrets*, or what looks like a key, token or password.

    *logged*: `Events`, of which all records are looked at; an iterable of records, events or texts; or the `Path` of a
    log or of a folder of logs, compressed ones and rings too. *secrets*: prompts, names, whatever must not be in there,
    of at least 4 characters. The message says where, and never repeats the secret. Raises `AssertionError`;
    `ValueError` for a shorter secret.
    """
    if short := [secret for secret in secrets if len(secret) < _SHORTEST]:
        raise ValueError(f"assert_no_secrets: {len(short)} of the secrets have less than {_SHORTEST} characters")
    for place, text in _texts(logged):
        for number, secret in enumerate(secrets, 1):
            if any(form in text for form in _forms(secret)):
                raise AssertionError(f"{place} holds secret {number} of {len(secrets)} ({len(secret)} characters)")
        for kind, pattern in _SECRETS.items():
            if found := re.search(pattern, text):
                raise AssertionError(f"{place} holds {kind}, it begins with {found[0][:_SHORTEST]!r}")


def _forms(secret: str) -> tuple[str, str, str]:
    return secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]


def _texts(logged: Any) -> Iterator[tuple[str, str]]:
    if isinstance(logged, Path):
        paths = [path for path in sorted(logged.rglob("*")) if path.is_file()] if logged.is_dir() else [logged]
        for path in paths:
            data = path.read_bytes()
            text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8", "replace")
            for number, line in enumerate(text.split("\n"), 1):
                yield f"{path}, line {number},", line
        return
    if isinstance(logged, Events):
        logged = logged.records
    for number, one in enumerate([logged] if isinstance(logged, str | bytes | dict) else logged, 1):
        if isinstance(one, bytes):
            one = one.decode("utf-8", "replace")  # noqa: PLW2901
        yield f"entry {number}", one if isinstance(one, str) else msgspec.json.encode(one, enc_hook=str).decode()
