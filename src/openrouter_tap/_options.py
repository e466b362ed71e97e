"""What a tap may be told."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from openrouter_tap._bridge import notice, shown
from openrouter_tap._event import CallEvent

__all__ = ["Hosts", "TapOptions", "notice_proxies"]

_OPENROUTER = "openrouter.ai"
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


class TapOptions(Struct, frozen=True, kw_only=True):
    """Options of one tap."""

    hosts: tuple[str, ...] = ()
    """Hosts to tap beside OpenRouter's: ``host`` or ``host:port``, ``*`` for all. Added to ``OPENROUTER_TAP_HOSTS``."""
    on_event: Callable[[CallEvent], object] | None = None
    """Called with each event after it was written, where the call ends: keep it short.

    What it raises is noticed once and reaches no call. Raises `TypeError` where it is no plain function.
    """

    def __post_init__(self) -> None:
        if self.on_event is not None and (not callable(self.on_event) or inspect.iscoroutinefunction(self.on_event)):
            raise TypeError(
                f"TapOptions: on_event={shown(self.on_event)} is no plain function, and nobody could await it: "
                "give one that takes a CallEvent, as queue.put_nowait or events.append"
            )


class Hosts:
    """The hosts whose calls are recorded; none where the environment switches every tap off."""

    def __init__(self, more: Iterable[str]) -> None:
        named = [*([more] if isinstance(more, str) else more), *os.environ.get("OPENROUTER_TAP_HOSTS", "").split(",")]
        hosts = {_OPENROUTER, *(_bare(host) for host in named if host.strip())}
        if _is_off():
            hosts = set()
        self.any_port = frozenset(host for host in hosts if not _port(host))
        self._one_port = frozenset((_without_port(host), _port(host)) for host in hosts if _port(host))
        self._all = "*" in hosts

    def taps(self, url: Any) -> bool:
        """Whether calls to *url* are recorded."""
        return url.host in self.any_port or self.is_listed(url)

    def is_listed(self, url: Any) -> bool:
        """Whether *url*, whose host is not in `any_port`, is to be recorded all the same."""
        return self._all or (
            bool(self._one_port) and (url.host, url.port or _DEFAULT_PORTS.get(url.scheme)) in self._one_port
        )


_DEFAULT_PORTS = {"http": 80, "https": 443}


_PORT = re.compile(r"(?:\[[^\]]*\]|[^:]*):(\d{1,5})")


def _bare(host: str) -> str:
    """*host* as a URL has it, whether or not it was given as one: in lower case, IPv6 without brackets."""
    host = host.strip().lower().rpartition("://")[2].partition("/")[0]
    return host if _PORT.fullmatch(host) else host.strip("[]")


def _port(host: str) -> int | None:
    match = _PORT.fullmatch(host)
    return int(match[1]) if match else None


def _without_port(host: str) -> str:
    return host.rpartition(":")[0].strip("[]")


def notice_proxies() -> None:
    """Say once that a client with a transport of its own goes past the proxies that the environment names."""
    named = [name for name in _PROXIES for name in (name, name.lower()) if os.environ.get(name)]
    if named:
        notice(
            "proxies",
            f"{', '.join(named)} set, but a client that is given transport=TappedTransport() uses no proxy of the "
            "environment. To keep them, tap a client that is made as ever: tap_client(httpx.Client()).",
        )


def _is_off() -> bool:
    switch = os.environ.get("OPENROUTER_TAP", "").strip().lower()
    if switch not in ("", "on", "off"):
        notice("OPENROUTER_TAP", f"OPENROUTER_TAP={switch!r} is neither on nor off: the tap stays on.")
    return switch == "off" or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
