"""What a tap may be told."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from typing import Any, NamedTuple, Self

from msgspec import Struct

from openrouter_tap._bridge import SWITCH, notice, shown
from openrouter_tap._compat import LIBRARIES
from openrouter_tap._event import CallEvent

__all__ = ["NO_HOST", "Hosts", "Switch", "TapOptions", "no_hosts", "notice_proxies"]

_OPENROUTER = ("openrouter.ai", "eu.openrouter.ai", "us.openrouter.ai")  # the others: of in-region routing
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


class TapOptions(Struct, frozen=True, kw_only=True):
    """Options of one tap."""

    hosts: tuple[str, ...] = ()
    """Hosts to tap beside OpenRouter's: ``host`` or ``host:port``, ``*`` for all. Added to ``OPENROUTER_TAP_HOSTS``."""
    on_event: Callable[[CallEvent], object] | None = None
    """Called with each event after it was written, where the call ends: keep it short.

    What it raises is noticed once a function and reaches no call. Raises `TypeError` where it is no plain function.
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
        more = [more] if isinstance(more, str) else list(more)
        there = os.environ.get("OPENROUTER_TAP_HOSTS", "").split(",")
        for source, names in (("TapOptions.hosts", more), ("OPENROUTER_TAP_HOSTS", there)):
            for host in no_hosts(names):
                notice(f"host {host}", f"{source}: {host!r} {NO_HOST}.")
        switch = Switch.of(os.environ)
        if switch.trouble:
            notice("OPENROUTER_TAP", f"{switch.trouble}.")
        hosts = {*_OPENROUTER, *(_bare(host) for host in [*more, *there] if host.strip())} if switch.is_on else set()
        self.any_port = _in_urls(host for host in hosts if not _port(host))
        self._one_port = frozenset(
            (form, _port(host)) for host in hosts if _port(host) for form in _in_urls([_without_port(host)])
        )
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

NO_HOST = "is no host and taps nothing; host, host:port, or * for all"
_MOST_PORT = 65535
_NAME = re.compile(r"\*|[\w.-]+")


def no_hosts(named: Iterable[str]) -> list[str]:
    """Those of the *named* that can be no host of a URL."""
    return [host for host in map(_bare, (host for host in named if host.strip())) if not _is_host(host)]


def _is_host(host: str) -> bool:
    port = _port(host)
    name = host if port is None else _without_port(host)
    if port is not None and (not 0 < port <= _MOST_PORT or name == "*"):
        return False
    try:
        return _NAME.fullmatch(name) is not None or bool(ip_address(name))
    except ValueError:
        return False


def _bare(host: str) -> str:
    """*host* as a URL has it, whether or not it was given as one: in lower case, IPv6 without brackets."""
    host = host.strip().lower().rpartition("://")[2].partition("/")[0].rpartition("@")[2]
    return host if _PORT.fullmatch(host) else host.strip("[]")


def _in_urls(hosts: Iterable[str]) -> frozenset[str]:
    """How *hosts* may stand in URLs: the libraries tell them in the script of their language, and with a last dot."""
    forms = {form for host in hosts for form in (host, _decoded(host)) if form}
    return frozenset(forms | {f"{form.removesuffix('.')}{dot}" for form in forms for dot in ("", ".")})


def _decoded(host: str) -> str:
    try:
        return LIBRARIES[0].URL(f"//{host}").host if host.startswith("xn--") or ".xn--" in host else ""
    except Exception:  # noqa: BLE001  it is no name then, and of no URL
        return ""


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


class Switch(NamedTuple):
    """Whether taps record, what says so, and what else is said that cannot be used."""

    is_on: bool
    origin: str
    trouble: str | None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """As *environ* has it."""
        text = environ.get("OPENROUTER_TAP", "").strip()
        value, trouble = SWITCH.get(text.lower()), None
        if text and value is None:
            trouble = f"OPENROUTER_TAP={text!r} is none of {', '.join(SWITCH)}: it is as if it were not set"
        if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" and value is not False:
            return cls(False, "OTEL_SDK_DISABLED", trouble)
        return cls(value is not False, f"bad: {text!r}" if trouble else "environment" if text else "default", trouble)
