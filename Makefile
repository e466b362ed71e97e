# Two commands matter: `make demo` and `make test`. Both set up .venv when it is missing or out of date.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo test soak sdks lint types schemas bench bench-sdk clean

demo: .venv/.demo
	$(BIN)/openrouter-tap demo

test: .venv/.dev
	$(BIN)/pytest --numprocesses 2 --dist worksteal

soak: .venv/.dev
	$(BIN)/pytest -m soak --numprocesses 2 --dist worksteal -rPs

sdks: .venv/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check nox
	$(BIN)/nox

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.dev
	$(BIN)/mypy

schemas: .venv/.dev
	$(BIN)/python -m openrouter_tap.schemas

bench: .venv/.bench
	$(BIN)/python -m benchmarks.emit
	$(BIN)/python -m benchmarks.disk
	$(BIN)/python -m benchmarks.quiet
	$(BIN)/python -m benchmarks.redact
	$(BIN)/python -m benchmarks.tap
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.tools
	$(BIN)/python -m benchmarks.sustained

# The rivals under the openai SDK want an environment of their own. openai-v2 cannot be imported with a newer util-genai.
bench-sdk: .venv/bin/python
	$(PYTHON) -m venv .venv/sdk
	.venv/sdk/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[httpx2,bench]' openai==3.57.0 \
	  langfuse==5.0.4 opentelemetry-instrumentation-openai==0.62.4 openinference-instrumentation-openai==0.1.66
	.venv/sdk/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  opentelemetry-instrumentation-openai-v2==2.4b0 opentelemetry-util-genai==0.4b0
	.venv/sdk/bin/python -m benchmarks.sdk

clean:
	rm -rf .venv

.venv/bin/python:
	@echo "Setting up .venv ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.x")'
	@$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/python pyproject.toml constraints.txt
	@$(INSTALL) '.[all]'
	@touch $@

.venv/.dev: .venv/.demo
	@$(INSTALL) '.[all,dev]'
	@touch $@

.venv/.bench: .venv/.dev
	@$(INSTALL) '.[all,dev,bench]'
	@touch $@
