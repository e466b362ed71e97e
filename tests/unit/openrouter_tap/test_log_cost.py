from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from conftest import Logs

import cipherlog_core
from cipherlog_core._redact import MARK
from openrouter_tap import Cost, Tokens, log_cost, tag


@pytest.fixture(autouse=True)
def fresh_notices(monkeypatch: pytest.MonkeyPatch, logs: Logs) -> None:
    monkeypatch.setattr("openrouter_tap._bridge.notice._seen", set())


def logged(logs: Logs, **given: Any) -> dict[str, Any]:
    assert log_cost(**{"model": "maker/model", **given})
    return logs.read()[-1]


def test_all_that_is_told(logs: Logs) -> None:
    """Each fact in its place, the rest null; the source says who told it."""
    record = logged(
        logs,
        tokens={"prompt": 10, "completion": 5, "total": 15},
        cost={"input": 0.001, "output": 0.002, "total": 0.003},
        tier_id="fast",
        session_id="s",
        request_id="r",
        latency_ms=123.4,
        http_status=200,
        generation_id="gen-1",
        tool="t",
        env="dev",
    )

    fields = record["fields"]
    assert [record[key] for key in ("event", "logger", "level", "session_id", "request_id", "tool")] == [
        "openrouter_cost",
        "openrouter_tap",
        "INFO",
        "s",
        "r",
        "t",
    ]
    told = {"model", "tier_id", "generation_id", "http_status", "latency_ms", "tags", "outcome", "endpoint", "provider"}
    assert {key: fields[key] for key in told} == {
        "provider": "openrouter",
        "model": "maker/model",
        "tier_id": "fast",
        "generation_id": "gen-1",
        "http_status": 200,
        "latency_ms": 123.4,
        "tags": {"env": "dev"},
        "outcome": "completed",
        "endpoint": "other",
    }
    assert {value for key, value in fields.items() if key not in told | {"tokens", "cost"}} == {None}
    assert {key: value for key, value in fields["tokens"].items() if value is not None} == {
        "prompt": 10,
        "completion": 5,
        "total": 15,
    }
    assert fields["cost"] == {
        "input": 0.001,
        "output": 0.002,
        "other": None,
        "total": 0.003,
        "upstream": None,
        "is_byok": None,
        "source": "caller",
        "currency": "USD",
    }


@pytest.mark.parametrize(
    ("cost", "total", "source"),
    [
        (0.5, 0.5, "caller"),
        (0, 0.0, "caller"),
        (Decimal("0.1"), 0.1, "caller"),
        ("0.25", 0.25, "caller"),
        ({"input": 0.1, "output": 0.2}, 0.3, "caller"),
        ({"input": 0.1}, None, "unknown"),
        (Cost(total=0.7, source="provider"), 0.7, "provider"),
        (Cost(0.5, 0.2, total=0.7), 0.7, "caller"),
        (Cost(source="provider"), None, "unknown"),
        (None, None, "unknown"),
    ],
    ids=str,
)
def test_costs_in_any_form(cost: Any, total: float | None, source: str, logs: Logs) -> None:
    """The total alone or in parts; what is not told is null, and 0 is 0."""
    found = logged(logs, cost=cost)["fields"]["cost"]

    assert (found["total"], found["source"]) == (total, source)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (Tokens(1, 2, 3), (1, 2, 3)),
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}, (1, 2, 3)),
        ({"prompt": 1}, (1, None, None)),
        (None, (None, None, None)),
    ],
    ids=str,
)
def test_tokens_in_any_form(tokens: Any, expected: tuple[int | None, ...], logs: Logs) -> None:
    """The names of `Tokens`, or those of a reply's usage."""
    found = logged(logs, tokens=tokens)["fields"]["tokens"]

    assert (found["prompt"], found["completion"], found["total"]) == expected


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"cost": -1}, ("cost", "total")),
        ({"cost": float("nan")}, ("cost", "total")),
        ({"cost": "much"}, ("cost", "total")),
        ({"cost": [1]}, ("cost", "total")),
        ({"tokens": {"prompt": 1.5}}, ("tokens", "prompt")),
        ({"tokens": {"prompt": True}}, ("tokens", "prompt")),
        ({"tokens": 7}, ("tokens", "prompt")),
        ({"latency_ms": "long"}, ("latency_ms",)),
        ({"http_status": "OK"}, ("http_status",)),
    ],
    ids=str,
)
def test_nonsense_is_null_and_told(
    given: dict[str, Any], path: tuple[str, ...], logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    """The event is written with what can be used, and a notice names the argument."""
    value = logged(logs, **given)["fields"]
    for key in path:
        value = value[key]

    assert value is None
    assert [record.name for record in caplog.records] == ["openrouter_tap"]
    assert f"log_cost(): {next(iter(given))}" in caplog.text


def test_model_tokens_and_cost_go_by_place_too(logs: Logs) -> None:
    """As calls of a hand-written function may have it."""
    log_cost("maker/model", {"prompt": 3}, 0.5)

    (record,) = logs.read()
    fields = record["fields"]
    assert (fields["model"], fields["tokens"]["prompt"], fields["cost"]["total"]) == ("maker/model", 3, 0.5)


def test_an_http_error(logs: Logs) -> None:
    """A status of 400 or more is one."""
    fields = logged(logs, http_status=429)["fields"]

    assert (fields["outcome"], fields["error"]) == ("http_error", {"type": "429", "code": None})


def test_ids_default_to_tag_and_context(logs: Logs) -> None:
    """Explicit ones win; the generation stands in for a request."""
    with cipherlog_core.bind(request_id="bound"), tag(session_id="s", tier_id="slow", env="dev"):
        first = logged(logs, generation_id="gen-1", part="a")
        second = logged(logs, session_id="mine", tier_id="fast")
    third = logged(logs, generation_id="gen-1")

    assert (first["session_id"], first["request_id"], first["fields"]["tier_id"]) == ("s", "bound", "slow")
    assert first["fields"]["tags"] == {"env": "dev", "part": "a"}
    assert (second["session_id"], second["fields"]["tier_id"]) == ("mine", "fast")
    assert (third["session_id"], third["request_id"]) == (None, "gen-1")


def test_tags_are_fields(logs: Logs) -> None:
    """Those that are called as secrets are lose their value, and a key is none of their names."""
    key = "sk-or-v1-" + "0123456789abcdef" * 4
    with tag(password="hunter2", env="dev"):
        record = logged(logs, **{"API-Key": "of a tenant", key: "x"})

    assert record["fields"]["tags"] == {"password": MARK, "env": "dev", "API-Key": MARK, MARK: "x"}


def test_it_is_written_at_any_level_and_never_sampled(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """As all money, and all routing."""
    monkeypatch.setenv("LOG_LEVEL", "CRITICAL")
    monkeypatch.setenv("LOG_SAMPLE_HTTP", "1000")
    monkeypatch.setenv("LOG_JSON", "false")
    cipherlog_core.start("app")
    for _ in range(10):
        assert log_cost(model="m", cost=1)
        assert cipherlog_core.routing_event(selected_tool="a", recommended_tool="b", is_compliant=False, session_id="s")

    routed = logs.read("routing-metadata")
    assert len(logs.read()) == len(routed) == 10
    assert (routed[0]["event"], routed[0]["logger"], routed[0]["session_id"]) == ("routing", "routing", "s")
    assert routed[0]["fields"] == {
        "selected_tool": "a",
        "recommended_tool": "b",
        "is_compliant": False,
        "detected_domain": None,
        "status": None,
    }


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError

    def __float__(self) -> float:
        raise ZeroDivisionError


class Unreadable(dict):
    def keys(self) -> Any:
        raise RuntimeError


DEEP: list[object] = []
for _ in range(3000):
    DEEP = [DEEP]


@pytest.mark.parametrize("odd", [Unprintable(), 10**5000, {"x": DEEP}, Unreadable(total=1), "\ud800"], ids=range(5))
@pytest.mark.parametrize("name", ["tokens", "cost", "latency_ms", "http_status", "model", "session_id", "env"])
def test_one_bad_argument_costs_only_itself(name: str, odd: Any, logs: Logs) -> None:
    """Whatever it is, the record is written."""
    fields = logged(logs, **{"tier_id": "t", name: odd})["fields"]

    assert fields["tier_id"] == "t"


@pytest.mark.parametrize(
    ("given", "path", "expected"),
    [
        ({"tokens": Tokens(prompt="x", completion=2)}, ("tokens", "prompt"), None),
        ({"tokens": Tokens(prompt="x", completion=2)}, ("tokens", "completion"), 2),
        ({"cost": Cost(total="x", source="bribe", currency="EUR")}, ("cost", "total"), None),
        ({"cost": Cost(total=1.5, is_byok="yes", source=[])}, ("cost", "source"), "caller"),
        ({"tokens": {"prompt": 1 << 70}}, ("tokens", "prompt"), None),
    ],
)
def test_structs_of_wrong_kinds(given: dict[str, Any], path: tuple[str, str], expected: object, logs: Logs) -> None:
    """They are checked as mappings are: each line is of the schema."""
    fields = logged(logs, **given)["fields"]

    assert fields[path[0]][path[1]] == expected


def test_a_cost_that_cannot_be_logged_is_counted(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """As any other event that is dropped, and told in the log as soon as it can be."""
    before = cipherlog_core.stats().dropped
    with monkeypatch.context() as patch:
        patch.setattr("openrouter_tap._log_cost.current", None)
        assert not log_cost(model="m")
    assert cipherlog_core.stats().dropped == before + 1

    assert log_cost(model="m")
    assert {record["event"] for record in logs.read()} == {"openrouter_cost", "records_dropped"}
