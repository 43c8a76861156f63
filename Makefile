# Two commands do all set-up: `make run` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test lint unit integration acceptance format docs lock bench bench-detection clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

$(VENV)/.run: requirements/run.lock pyproject.toml scripts/setup.sh
	@scripts/setup.sh run

$(VENV)/.dev: requirements/dev.lock pyproject.toml scripts/setup.sh
	@scripts/setup.sh dev

run: $(VENV)/.run ## Set everything up, start Driftlock and print how to use it (ARGS="--help" for more)
	@exec $(BIN)/driftlock up $(ARGS)

test: $(VENV)/.dev ## Set everything up and run lint, types, and the whole test suite
	@scripts/test.sh

lint: $(VENV)/.dev ## Format check, lint, layers, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy

unit: $(VENV)/.dev ## Run the unit tests only
	@$(BIN)/pytest -q -n auto tests/unit

integration: $(VENV)/.dev ## Run the tests against real PostgreSQL and NATS
	@$(BIN)/pytest -q -n 2 tests/integration tests/migration

acceptance: $(VENV)/.dev ## Run the end-to-end tests
	@$(BIN)/pytest -q -n 2 tests/acceptance

format: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: $(VENV)/.dev ## Write the reference pages that come from the code
	@$(BIN)/python -m driftlock.cli.reference docs/reference

bench: $(VENV)/.dev ## Measure speed, memory and delay; results go to bench-results/
	@$(BIN)/python -m benchmarks.speed $(ARGS)

bench-detection: $(VENV)/.dev ## Measure detection quality beside baselines and peers (needs ../shared/data)
	@$(BIN)/python -m benchmarks.detection_logs
	@$(BIN)/python -m benchmarks.detection_endless
	@$(BIN)/python -m benchmarks.detection_promises
	@$(BIN)/python -m benchmarks.detection_nab

lock: $(VENV)/.dev ## Renew the lock files (hashes only, no index address)
	@scripts/lock.sh

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
