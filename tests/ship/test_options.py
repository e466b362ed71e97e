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
