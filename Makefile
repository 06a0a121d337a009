# `make help` lists what there is. Everything runs from .venv, made on first use.
PYTHON ?= python3
CONFIG ?= config/cacheproxy.yaml
IMAGE ?= localhost/cacheproxy:latest
BUILDER ?= podman build
BUILD_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

# Tests that measure time have the machine for themselves; the others share it.
TOGETHER := $(BIN)/pytest -q -n auto --maxprocesses 4 --dist worksteal -m "not alone"
SIMULATE := $(BIN)/python -m tests.simulation
SEEDS ?= 2000
ALONE := $(BIN)/pytest -q -m alone
# For `make test`: the parts, and what shows that the whole does its main job.
MAIN_JOB := addressing answer_sheet background_tasks budget conditional content damage \
  fill_faults fill_followers fill_ranges first_light freshness herds manifests outages \
  redirects referrers shutdown staleness who_may_read
QUICK := tests/unit tests/contract tests/property $(MAIN_JOB:%=tests/integration/test_%.py)

.DEFAULT_GOAL := help
.PHONY: help run test simulate check chart chart-docs docs demo bench format lint types imports image image-test lock clean venv

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

test: $(VENV)/.dev ## Set up and run the tests of the parts and of the main job (6 minutes on two cores)
	@$(TOGETHER) $(QUICK)
	@$(SIMULATE) --seeds 2000 --seconds 45

simulate: $(VENV)/.dev ## Look for a schedule that breaks a promise (SEEDS=100000, CLUSTER=1 for several replicas)
	@$(SIMULATE) --seeds $(SEEDS) $(if $(CLUSTER),--cluster)

demo: $(VENV)/.dev ## Pull an image twice from a real registry on this machine; print what crossed the upstream link
	@$(BIN)/python -m demo

bench: $(VENV)/.dev ## Measure beside distribution and nginx, behind a slow link, and what Redis sees (BENCH=--quick for a look)
	@$(BIN)/python -m bench $(BENCH)

check: lint types imports ## Format, lint, types, layers and all tests (those that need a part which is missing say so)
	@$(SIMULATE) --seeds 2000 --seconds 120
	@$(SIMULATE) --cluster --seeds 1000 --seconds 60
	@$(TOGETHER)
	@$(ALONE)

image: ## Build the container image IMAGE (BUILDER="docker build", BUILD_FLAGS=…)
	$(BUILDER) --tag $(IMAGE) $(BUILD_FLAGS) .

image-test: $(VENV)/.dev ## Run the container image IMAGE and look at it (needs buildah, and root)
	@CACHEPROXY_TEST_IMAGE=$(IMAGE) $(BIN)/pytest -q tests/image

chart: $(VENV)/.dev ## Lint, render and check the Helm chart, for the oldest and the newest Kubernetes
	@$(BIN)/pytest -q tests/chart

chart-docs: $(VENV)/.dev ## Make the chart's values.schema.json and the table in its README anew
	@$(BIN)/python -m helm

docs: $(VENV)/.dev ## Write docs/configuration.md (types and defaults) and docs/compatibility.md anew
	@$(BIN)/python -m docs
	@$(BIN)/python -m tests.differential

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
	for extra in ecr google azure; do \
	  sed -n "s/^$$extra = \[\"\(.*\)\"\].*/\1/p" pyproject.toml \
	    | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	      --no-emit-index-url --constraints requirements/dev.txt -o requirements/$$extra.txt -; \
	done

clean: ## Remove .venv and caches (not the cache directory)
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
