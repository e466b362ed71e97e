"""`nox` tries the tap with real SDKs, each in an environment of its own; `nox -s "sdk(openai-3)"` with one of them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import nox

SDKS = tomllib.loads(Path(__file__).with_name("tests").joinpath("sdks", "versions.toml").read_text(encoding="utf-8"))

nox.options.default_venv_backend = "venv"
nox.options.error_on_external_run = True


@nox.session
@nox.parametrize("name", list(SDKS), ids=list(SDKS))
def sdk(session: nox.Session, name: str) -> None:
    """The suite, the known cases and the how-to of one SDK."""
    session.install(
        *SDKS[name]["packages"], ".[all]", "pytest", "fastjsonschema", "trustme", *SDKS[name].get("beside", [])
    )
    session.run(
        *("pytest", "-W", "default", "tests/sdks", *session.posargs),
        env={
            "OPENROUTER_TAP_SDKS": " ".join(SDKS[name]["adapters"]),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # or it fetches one from the network when it is imported
        },
    )
