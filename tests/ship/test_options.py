"""The standard variables of OpenTelemetry."""

from __future__ import annotations

import pytest

from cipherlog_core.ship._options import destinations, resource_attributes


@pytest.mark.parametrize(
    ("environ", "endpoint", "urls"),
    [
        ({}, None, ["http://localhost:4318/v1/logs", "http://localhost:4318/v1/traces"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1/a/"}, None, ["http://c:1/a/v1/logs", "http://c:1/a/v1/traces"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/x"}, None, ["http://localhost:4318/v1/logs", "http://t/x"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1"}, "http://d:2", ["http://d:2/v1/logs", "http://d:2/v1/traces"]),
        ({}, "http://d:2/v1/logs", ["http://d:2/v1/logs", "http://d:2/v1/traces"]),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, None, ["http://localhost:4317", "http://localhost:4317"]),
    ],
)
def test_endpoints_are_as_the_specification_says(environ: dict, endpoint: str | None, urls: list[str]) -> None:
    """The base URL gets a path for each signal, a signal's own URL none; what is passed wins."""
    found = destinations({**environ, "OTEL_METRICS_EXPORTER": "none"}, endpoint)

    assert [to.url for to in found.values()] == urls


@pytest.mark.parametrize(
    "name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TIMEOUT"]
)
def test_a_variable_that_cannot_be_used_is_named(name: str) -> None:
    """With what it may be."""
    with pytest.raises(ValueError, match=f"{name}='%' cannot be used"):
        destinations({name: "%"})


def test_headers_that_cannot_be_used_are_not_quoted() -> None:
    """They are where keys are."""
    with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_HEADERS: part 1 is no key=value"):
        destinations({"OTEL_EXPORTER_OTLP_HEADERS": "s3cr3t"})


def test_the_service_is_named_by_the_standard_variables() -> None:
    """``OTEL_SERVICE_NAME`` wins."""
    environ = {"OTEL_RESOURCE_ATTRIBUTES": "service.name=a,env=x%2Cy", "OTEL_SERVICE_NAME": "b"}

    assert resource_attributes(environ) == {"service.name": "b", "env": "x,y"}


BAD = {
    "port": ("ENDPOINT", "http://h:99999"),
    "word as port": ("ENDPOINT", "http://h:port"),
    "no port": ("ENDPOINT", "http://h:0"),
    "space": ("ENDPOINT", "http://h/a b"),
    "bracket": ("ENDPOINT", "http://[::1"),
    "user": ("ENDPOINT", "http://user:secretpw@h:1"),
    "user and no scheme": ("ENDPOINT", "user:secretpw@h"),
    "query": ("ENDPOINT", "http://h:1/x?key=secretpw"),
    "fragment": ("LOGS_ENDPOINT", "http://h:1/x#secretpw"),
    "value": ("HEADERS", "x=secretpw%0Ay"),
    "name": ("HEADERS", "x%20secretpw=y"),
    "beyond latin": ("HEADERS", "x=secretpw%E2%82%AC"),
    "no file": ("CERTIFICATE", "/no/such.pem"),
    "no pem": ("CERTIFICATE", __file__),
    "no client pem": ("CLIENT_CERTIFICATE", __file__),
    "key alone": ("CLIENT_KEY", __file__),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_what_can_never_work_is_refused_at_the_start(kind: str, protocol: str) -> None:
    """The variable named, no secret of it told."""
    name, text = f"OTEL_EXPORTER_OTLP_{BAD[kind][0]}", BAD[kind][1]

    with pytest.raises(ValueError, match=name) as raised:
        destinations({name: text}, protocol=protocol)

    assert "secretpw" not in str(raised.value)


def test_metadata_that_grpc_refuses_is_refused_at_the_start() -> None:
    """HTTP has more."""
    environ = {"OTEL_EXPORTER_OTLP_HEADERS": "x=%C3%A9"}
    assert destinations(environ)["logs"].headers == {"x": "é"}

    with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_HEADERS: part 1 cannot be sent"):
        destinations(environ, protocol="grpc")


def test_nothing_to_ship_is_refused() -> None:
    """Else the checkpoint would move, and what was logged meanwhile never be sent."""
    with pytest.raises(ValueError, match=r"OTEL_LOGS_EXPORTER.* are all none"):
        destinations({f"OTEL_{signal}_EXPORTER": "none" for signal in ("LOGS", "TRACES", "METRICS")})
