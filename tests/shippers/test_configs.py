"""The files of deploy/ that no binary here can run: parsed, their VRL compiled and run, and marked as not run."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from following import DEPLOY, on_disk, producing

YAML = sorted(DEPLOY.rglob("*.yaml"))
SHIPPED = [path for path in sorted(DEPLOY.rglob("*")) if path.suffix in {".yaml", ".conf", ".sql"}]
NOT_HERE = "no {0}: pip install {0}"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_each_file_says_whether_it_is_run(path: Path) -> None:
    """In its first lines: by which test, or that it is not, or that its tail.yaml tells."""
    head = re.sub(r"\n(#|--) ?", " ", path.read_text()[:2500])
    name = f"{path.parent.name}/{path.name}"

    assert re.search(r"\brun by tests/shippers/test_\w+\.py|Not run|see tail\.yaml", head), name
    for test in re.findall(r"tests/shippers/test_\w+\.py", head):
        assert (DEPLOY.parent / test).exists()


@pytest.mark.skipif(not importlib.util.find_spec("yaml"), reason=NOT_HERE.format("pyyaml"))
@pytest.mark.parametrize("path", YAML, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_yaml_is_parsed_and_parts_fit(path: Path) -> None:
    """Each file is a mapping without a key that comes twice; what a pipeline names is there, or in its tail.yaml."""
    parsed = load(path)
    tool = path.parent.name
    whole = [load(path.with_name("tail.yaml")), load(path)]
    if tool == "vector":
        named = {name for part in whole for kind in ("sources", "transforms") for name in part.get(kind, {})}
        asked = {
            name
            for kind in ("transforms", "sinks")
            for part in parsed.get(kind, {}).values()
            for name in part["inputs"]
        }
        assert asked <= named
    if tool == "otel-collector":
        for kind in ("receivers", "processors", "exporters"):
            named = {name for part in whole for name in part.get(kind, {})}
            for pipeline in parsed.get("service", {}).get("pipelines", {}).values():
                assert set(pipeline.get(kind, ())) <= named
    if tool == "fluent-bit":
        assert all(output["match"] == "tap" for output in parsed["pipeline"].get("outputs", ()))


def load(path: Path) -> dict[str, Any]:
    import yaml

    class Strict(yaml.SafeLoader):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [key.value for key, _ in node.value]
            assert len(keys) == len(set(keys)), keys
            return super().construct_mapping(node, deep)

    found = yaml.load(path.read_text(), Strict)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Real lines of all three kinds of files."""
    folder = tmp_path_factory.mktemp("vrl") / "logs"
    folder.mkdir(mode=0o700)
    with producing(folder, 60, 10_000):
        pass
    return sorted(on_disk(folder))


@pytest.mark.skipif(
    not (importlib.util.find_spec("vrl_python") and importlib.util.find_spec("yaml")),
    reason=NOT_HERE.format("vrl-python pyyaml"),
)
@pytest.mark.parametrize("path", sorted((DEPLOY / "vector").glob("to-*.yaml")), ids=lambda path: path.stem)
def test_vrl_compiles_and_keeps_the_line(path: Path, lines: list[bytes]) -> None:
    """Vector's own compiler; over real lines and a torn one, each program gives the event that its sink needs."""
    from vrl_python import VRLRuntime

    (transform,) = load(path)["transforms"].values()
    runtime = VRLRuntime()
    assert runtime.compile(transform["source"])
    for line in [*lines, b'{"schema":1,"id":"17']:
        text = line.decode()
        event = runtime.execute(
            transform["source"], {"message": text, "timestamp": "2026-11-24T00:00:00Z"}
        ).processed_event
        assert found(path.stem, event, text) == text


def found(stem: str, event: dict[str, Any], text: str) -> str:
    """The line, wherever the event has it; of a document the same JSON."""
    if stem == "to-loki":
        assert event["event"] in {"numbered", "openrouter_cost", "routing", "torn"}
        assert event["server"] in {"llm-inference", "unknown"}
        return str(event["message"])
    if stem == "to-otlp":
        (record,) = event["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
        assert int(record["timeUnixNano"]) > 1_700_000_000_000_000_000
        return str(record["body"]["stringValue"])
    if stem == "to-elasticsearch":
        if event["event"] == "torn":
            return str(event["line"])
        assert event == json.loads(text)
        return text
    return str(event["line"])
