# resnetlab, for contributors and the curious. `make help` lists what there is.
PYTHON ?= python3
BIN := .venv/bin
# Files of tests side by side, a process a core, of one thread each: in their own order, the long ones of the middle are
# not left for the end.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder
READY := .venv/ready
.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format bench bench-gpu bench-startup pins results clean

help: ## Say what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: $(READY) ## Run the study `digits` (two minutes on two cores) and name its report
	$(BIN)/resnetlab study run digits

test: $(READY) lint ## Check style, types and floors, and run the fast tests (set-up included)
	$(PYTEST) -m "not slow"

test-all: $(READY) lint ## As test, with the slow suites (kills, races, calibration), and what the tests cover
	$(PYTEST) --cov --cov-report=term

lint: $(READY) ## Check style, types and floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-gpu: $(READY) ## Compare with a stock loop on one CUDA GPU (9 minutes), into benchmarks/gpu.json
	PYTHONPATH=src $(BIN)/python benchmarks/gpu.py

pins: $(READY) ## Write constraints.txt from what is installed
	@echo '# Exact versions that the tests ran with. Made by `make pins`; used by `make` and .ci/run.' > constraints.txt
	$(BIN)/uv pip freeze --python $(BIN)/python --exclude-editable | grep -viE '^(uv|resnetlab)==' >> constraints.txt

results: $(READY) ## Write the committed reports again from the values beside them
	$(BIN)/python -c 'from pathlib import Path; from resnetlab.reports import sizes; from resnetlab.reports.write import rebuild; [(rebuild if p.name == "report.json" else sizes.rebuild)(p.parent) for p in Path("results").glob("*/*.json")]'

bench: $(READY) ## Measure training steps beside stock loops (twenty minutes of a quiet machine)
	$(BIN)/python benchmarks/steps.py

bench-startup: $(READY) ## Measure how long commands take to answer, beside the import of torch (five minutes)
	$(BIN)/python benchmarks/startup.py

clean: ## Remove the environment and what tools left (runs and reports stay)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage* dist

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "resnetlab needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable ".[dev]"
	@touch $@
