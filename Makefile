# `make help` lists what there is. Everything runs from .venv, made on first use.
PYTHON ?= python3
CONFIG ?= config/cacheproxy.yaml
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

.DEFAULT_GOAL := help
.PHONY: help run test check demo bench format lint types imports lock clean venv

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "cacheproxy needs Python 3.11 or newer as $(PYTHON); name another: make run PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "$(PYTHON) could not make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.run: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	@echo "Setting up $(VENV) …"
	@$(PIP) -r requirements/run.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	@echo "Adding the tools for tests and checks …"
	@$(PIP) -r requirements/dev.txt
	@touch $@

venv: $(VENV)/.dev ## Set up .venv with everything that tests and checks need

run: $(VENV)/.run ## Set up and serve with config/cacheproxy.yaml (CONFIG=… for another)
	@$(BIN)/cacheproxy serve --config $(CONFIG)

test: $(VENV)/.dev ## Set up and run all tests (those that need a part which is missing say so)
	@$(BIN)/pytest -q

demo: $(VENV)/.dev ## Pull an image twice from a real registry on this machine; print what crossed the upstream link
	@$(BIN)/python -m demo

bench: $(VENV)/.dev ## Measure beside distribution and nginx, behind a slow link (BENCH=--quick for a look)
	@$(BIN)/python -m bench $(BENCH)

check: lint types imports ## What CI runs: format, lint, types, layers, all tests
	@$(BIN)/pytest -q

format: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix --select I .

lint: $(VENV)/.dev ## Check format and lint rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(VENV)/.dev ## mypy --strict
	@$(BIN)/mypy

imports: $(VENV)/.dev ## The layers of the architecture
	@$(BIN)/lint-imports

lock: ## Pin every dependency anew, with hashes (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --group build -o requirements/run.txt pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --group dev -o requirements/dev.txt pyproject.toml

clean: ## Remove .venv and caches (not the cache directory)
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
