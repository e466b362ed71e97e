"""Where the signals go, from the standard variables of OpenTelemetry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple
from urllib.parse import unquote, urlsplit

__all__ = ["SIGNALS", "Destination", "destinations", "resource_attributes"]

Protocol = Literal["http/protobuf", "grpc"]
SIGNALS = ("logs", "traces", "metrics")

_PORTS = {"http/protobuf": 4318, "grpc": 4317}
_HEADER_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # a header's name
_COMPRESSIONS = ("none", "gzip")


class Destination(NamedTuple):
    """Where and how one signal is sent."""

    url: str
    protocol: str
    headers: dict[str, str]
    timeout: float
    """Seconds for each request."""
    compression: str
    is_insecure: bool
    """Whether gRPC goes without TLS."""
    certificate: str | None
    """Files in PEM, as the next two: what the receiver's certificate is checked against."""
    client_certificate: str | None
    client_key: str | None


def destinations(
    environ: Mapping[str, str], endpoint: str | None = None, protocol: str | None = None
) -> dict[str, Destination]:
    """The destination of each signal that is not switched off by ``OTEL_<SIGNAL>_EXPORTER=none``.

    *endpoint* (the receiver's base URL, for all signals) and *protocol* win over the ``OTEL_EXPORTER_OTLP_`` variables.
    Raises `ValueError`, which names the variable, for a value that cannot be used.
    """
    wanted = [signal for signal in SIGNALS if environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip() != "none"]
    if not wanted:
        names = ", ".join(f"OTEL_{signal.upper()}_EXPORTER" for signal in SIGNALS)
        raise ValueError(f"{names} are all none: nothing would be shipped, and all counted as shipped")
    return {signal: _destination(_Values(environ, signal), endpoint, protocol) for signal in wanted}


class _Values:
    """The variables of one *signal*: its own before those for all."""

    def __init__(self, environ: Mapping[str, str], signal: str) -> None:
        self.signal = signal
        self._environ = environ
        self._own = f"OTEL_EXPORTER_OTLP_{signal.upper()}_"

    def named(self, name: str) -> tuple[str, str]:
        """The variable that holds, and its text: "" where none is set."""
        for variable in (self._own + name, f"OTEL_EXPORTER_OTLP_{name}"):
            if text := self._environ.get(variable, "").strip():
                return variable, text
        return f"OTEL_EXPORTER_OTLP_{name}", ""

    def __getitem__(self, name: str) -> str:
        return self.named(name)[1]

    def chosen(self, name: str, choices: tuple[str, ...]) -> str:
        variable, text = self.named(name)
        if text and text not in choices:
            raise ValueError(f"{variable}={text!r} cannot be used: it is {' or '.join(choices)}")
        return text or choices[0]

    def is_own(self, name: str) -> bool:
        return bool(self._environ.get(self._own + name, "").strip())


def _destination(values: _Values, endpoint: str | None, protocol: str | None) -> Destination:
    protocol = protocol or values.chosen("PROTOCOL", tuple(_PORTS))
    variable, url = ("the endpoint", endpoint) if endpoint else values.named("ENDPOINT")
    url = url or f"http://localhost:{_PORTS[protocol]}"
    is_insecure = values["INSECURE"].lower() == "true"
    if protocol == "grpc" and "://" not in url:
        url = f"{'http' if is_insecure else 'https'}://{url}"
    _check_url(variable, url, protocol)
    if protocol == "http/protobuf" and (endpoint or not values.is_own("ENDPOINT")):
        base = re.sub(r"/v1/(logs|traces|metrics)/?$", "", url).rstrip("/")
        url = f"{base}/v1/{values.signal}"
    _check_files(values)
    return Destination(
        url,
        protocol,
        _headers(*values.named("HEADERS"), protocol),
        _timeout(*values.named("TIMEOUT")),
        values.chosen("COMPRESSION", _COMPRESSIONS),
        url.startswith("http:"),
        values["CERTIFICATE"] or None,
        values["CLIENT_CERTIFICATE"] or None,
        values["CLIENT_KEY"] or None,
    )


def _check_url(variable: str, url: str, protocol: str) -> None:
    """What is told of it has neither its user nor its query: they may be secrets."""
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of the port, or a bracket
        is_whole = False
    shown = re.sub(r"[?#].*", "", re.sub(r"(?<=/).*@|^[^/]*@", "", url, flags=re.DOTALL), flags=re.DOTALL)
    if not is_whole or not re.fullmatch(r"[!-~]+", url):
        raise ValueError(
            f"{variable}={shown!r} cannot be used: it is a URL, such as http://localhost:{_PORTS[protocol]}"
        )
    if "@" in parts.netloc:
        raise ValueError(
            f"{variable}={shown!r} cannot be used with a user in it: credentials go in OTEL_EXPORTER_OTLP_HEADERS"
        )
    if "?" in url or "#" in url:
        raise ValueError(f"{variable}={shown!r} cannot be used with a query or a fragment: what it says goes nowhere")


def _headers(variable: str, text: str, protocol: str) -> dict[str, str]:
    """Those that can be sent; neither name nor value is told."""
    headers = _pairs(variable, text)
    name, value = (r"[0-9A-Za-z_.-]+", r"[ -~]*") if protocol == "grpc" else (_HEADER_NAME, r"[\t -~\xa0-\xff]*")
    for number, pair in enumerate(headers.items(), 1):
        is_reserved = protocol == "grpc" and pair[0].lower().startswith("grpc-")
        if is_reserved or not re.fullmatch(name, pair[0]) or not re.fullmatch(value, pair[1]):
            raise ValueError(f"{variable}: part {number} cannot be sent as a header")
    return headers


def _check_files(values: _Values) -> None:
    """Read the files in PEM as the request will."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    variable, path = values.named("CERTIFICATE")
    try:
        if path:
            context.load_verify_locations(path)
        variable, path = values.named("CLIENT_CERTIFICATE")
        key_variable, key = values.named("CLIENT_KEY")
        if path:
            context.load_cert_chain(path, key or None, password="")
    except (OSError, ValueError) as error:  # of ssl, too
        raise ValueError(f"{variable}={path!r} cannot be used: {error}") from None
    if key and not path:
        raise ValueError(
            f"{key_variable}={key!r} cannot be used: it needs {key_variable.replace('KEY', 'CERTIFICATE')}"
        )


def _timeout(variable: str, text: str) -> float:
    """Seconds, from the milliseconds of the specification."""
    if not re.fullmatch(r"\d{1,9}", text or "10000") or text == "0":
        raise ValueError(f"{variable}={text!r} cannot be used: it is a number of milliseconds")
    return int(text or 10_000) / 1000


def resource_attributes(environ: Mapping[str, str]) -> dict[str, str]:
    """What ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME`` say of the service. Raises `ValueError`."""
    name = "OTEL_RESOURCE_ATTRIBUTES"
    attributes = _pairs(name, environ.get(name, ""))
    if service := environ.get("OTEL_SERVICE_NAME", "").strip():
        attributes["service.name"] = service
    return attributes


def _pairs(variable: str, text: str) -> dict[str, str]:
    """``key=value`` pairs, between commas, percent-encoded. What stands in them is not told: it may be a secret."""
    pairs = {}
    for number, pair in enumerate((part for part in text.split(",") if part.strip()), 1):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"{variable}: part {number} is no key=value")
        pairs[unquote(key.strip())] = unquote(value.strip())
    return pairs
