"""What cipher.yml asks for. Whatever is wrong with it is a `ValueError` that says where."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from cipherlog_core.reading import Choice

HERE = Path(__file__).parent


class Server(msgspec.Struct, forbid_unknown_fields=True):
    """One server: what is run, where it listens, and its environment."""

    script: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    env: dict[str, Any] = {}


class _Loader(yaml.BaseLoader):
    """Each value as the text that is written: 0640 is no 416, and off no False. No key hides another of its name."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if keys.count(key.value) > 1:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands twice", problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


def read(config: Path) -> dict[str, Server]:
    """The servers, by name."""
    try:
        found = yaml.load(config.read_text(), _Loader)  # noqa: S506  it makes only text
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"it cannot be read: {error}") from error
    servers = found.get("servers") if isinstance(found, dict) else None
    if not (isinstance(servers, dict) and servers):
        raise ValueError(f"it needs `servers:`, and below it a block for each server, as in {HERE / 'cipher.yml'}")
    return {name: server(name, block) for name, block in servers.items()}


def server(name: str, block: Any) -> Server:
    """The server that a *block* describes."""
    if isinstance(block, dict) and not block.get("env"):
        block = {**block, "env": {}}
    try:
        it = msgspec.convert(block, Server, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"{name}: {error}") from error
    if not (HERE / it.script).is_file():
        raise ValueError(f"{name}: script: there is no file {HERE / it.script}")
    for key, value in it.env.items():
        if not isinstance(value, str):
            raise ValueError(f"{name}: env: {key}: {value!r} is no text, number or switch")  # noqa: TRY004
        if not key or "=" in key or "\0" in key + value:
            raise ValueError(f"{name}: env: {key!r}: {value!r}: an environment cannot hold that")
    toggles = {choice.variable: choice.trouble for choice in Choice.all_in(it.env)}
    for key, value in it.env.items():
        if key.startswith("LOG_") and key not in toggles:
            raise ValueError(f"{name}: env: there is no toggle {key}; there are {', '.join(toggles)}")
        if trouble := toggles.get(key):
            raise ValueError(f"{name}: env: {key}: {value!r} cannot be used: {trouble}")
    return it
