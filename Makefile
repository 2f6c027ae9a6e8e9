# Everything a developer runs; `make` alone lists it. Each target first brings .venv up to date, once for each change
# of the pinned requirements. pip finds its index by its own settings: nothing here names one.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
WORKERS ?= auto
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --only-binary :all: --generate-hashes \
  --no-emit-index-url --no-emit-package podium-client --custom-compile-command "make lock"
MANIFESTS := pyproject.toml clients/python/pyproject.toml
CODE := service store migrations clients/python protos tests

.PHONY: help run test faults faults-nightly bench bench-smoke bench-peers check formatted lint types imports tidy contract stubs verify format proto lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The words reach the shell through the environment, so that quotes and dollar signs in them stay text.
export QUERY SOURCE
run: .venv/run.stamp ## Show the research example: QUERY="what to ask" SOURCE=folder-of-documents, both optional
	@$(BIN)/podium demo research $${QUERY:+--query "$$QUERY"} $${SOURCE:+--source "$$SOURCE"}

# Bytecode is kept, whatever the environment says: tests start hundreds of processes, each of which would compile it all.
test: .venv/dev.stamp ## Run all tests, the fast ones first: ARGS="-k word", WORKERS=0 for one process
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

faults: .venv/dev.stamp ## Run the fault table, a quarter of an hour: ARGS="--only row --seed 7", ARGS="--write docs/reliability.md"
	@$(BIN)/python -m tests.faults.table --scale faults $(ARGS)

faults-nightly: .venv/dev.stamp ## Run the fault table with new seeds until it is stopped
	@$(BIN)/python -m tests.faults.table --scale nightly $(ARGS)

bench: .venv/dev.stamp ## Measure it on a quiet machine, a quarter of an hour: ARGS="--only a,d --store sqlite", ARGS=--help
	@$(BIN)/python -m tests.benchmarks $(ARGS)

bench-smoke: .venv/dev.stamp ## Compare Podium with the bare prototype, half a minute: fails when it has fallen far behind
	@$(BIN)/python -m tests.benchmarks.smoke

bench-peers: .venv/dev.stamp ## Compare Podium with its peers, ten minutes: ARGS="--only restate,podium", ARGS="--rounds 3"
	@$(BIN)/python -m tests.benchmarks.peers $(ARGS)

check: .venv/dev.stamp ## Run every static check, in parallel: the next seven
	@$(MAKE) --jobs 4 --keep-going --output-sync=target formatted lint types imports tidy contract stubs

formatted: .venv/dev.stamp ## Check the formatting with ruff
	@$(BIN)/ruff format --quiet --diff $(wildcard $(CODE))

lint: .venv/dev.stamp ## Lint with ruff
	@$(BIN)/ruff check --quiet $(wildcard $(CODE))

types: .venv/dev.stamp ## Type-check with mypy --strict
	@$(BIN)/mypy --no-error-summary

imports: .venv/dev.stamp ## Hold the architecture's layers with import-linter
	@report=$$(PYTHONPATH=clients/python $(BIN)/lint-imports --no-logo) || { echo "$$report"; exit 1; }

tidy: .venv/dev.stamp ## Test sizes, names, purity and the architecture's diagram
	@$(BIN)/python -m pytest -q -p no:cacheprovider tests/architecture

contract: .venv/dev.stamp ## Lint the contract and refuse a change that breaks its callers
	@$(BIN)/buf lint
	@$(BIN)/python protos/breaking.py

stubs: .venv/dev.stamp ## Compare the committed stubs with what the contract generates
	@$(BIN)/python protos/generate.py --check

verify: stubs ## Compare what is generated with its source: stubs, and migrations with the tables
	@if [ -d tests/migration ]; then $(BIN)/python -m pytest -q tests/migration; fi

format: .venv/dev.stamp ## Format the code, and mend what the linter can mend
	@$(BIN)/ruff check --quiet --fix-only $(wildcard $(CODE))
	@$(BIN)/ruff format $(wildcard $(CODE))

proto: .venv/dev.stamp ## Generate the Python stubs of the contract
	@$(BIN)/python protos/generate.py

lock: .venv/dev.stamp ## Pin the requirements with their hashes: UPGRADE=1 for the newest, else only what changed
	@$(LOCK) $(if $(UPGRADE),--upgrade) $(MANIFESTS) requirements/run.in --output-file requirements/run.txt
	@$(LOCK) $(if $(UPGRADE),--upgrade) $(MANIFESTS) requirements/dev.in --output-file requirements/dev.txt

clean: ## Remove the environment, caches and build output
	@rm -rf .venv build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. A stamp is as new as the last install that finished.

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON). Name one of 3.11 or newer: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Podium needs Python 3.11 or newer, \
	and $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/run.stamp: requirements/run.txt $(MANIFESTS) | $(BIN)/python
	@echo "Installing what Podium runs with into .venv" >&2
	@$(INSTALL) --require-hashes --no-deps --only-binary :all: --requirement requirements/run.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable clients/python --editable .
	@touch $@

.venv/dev.stamp: requirements/dev.txt .venv/run.stamp | $(BIN)/python
	@echo "Installing what developers need into .venv" >&2
	@$(INSTALL) --require-hashes --no-deps --only-binary :all: --requirement requirements/dev.txt
	@touch $@
