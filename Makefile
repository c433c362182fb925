# resnetlab, for contributors and the curious. `make help` lists what there is.
PYTHON ?= python3
BIN := .venv/bin
# Tests side by side, a process a core, of one thread each. Each process begins with a share of the files and takes over
# tests from another when it has none left. Where a test kills its process, the others go on and the run fails with its name.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal
TYPES := $(BIN)/mypy && $(BIN)/lint-imports
READY := .venv/ready
# The tests start hundreds of processes: each would compile all modules again where nothing may be kept.
export PYTHONDONTWRITEBYTECODE :=
.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint style types format bench bench-gpu bench-startup pins results clean

help: ## Say what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: $(READY) ## Run the study `digits` (two minutes on two cores) and name its report
	$(BIN)/resnetlab study run digits

# Style is told before the tests, which take minutes; types and floors are checked beside them and told after them.
test: $(READY) style ## Check style, types and floors, and run the fast tests (set-up included)
	@{ $(TYPES); } > .venv/types.log 2>&1 & types=$$!; \
	$(PYTEST) -m "not slow"; tests=$$?; wait $$types; checked=$$?; cat .venv/types.log; exit $$((tests | checked))

test-all: $(READY) lint ## As test, with the slow suites (kills, races, calibration), and what the tests cover
	$(PYTEST) --hypothesis-profile all --cov --cov-report=term

lint: style types ## Check style, types and floors

style: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(TYPES)

format: $(READY) ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-gpu: $(READY) ## Compare with a stock loop on one CUDA GPU (9 minutes), into benchmarks/gpu.json
	PYTHONPATH=src $(BIN)/python benchmarks/gpu.py

pins: $(READY) ## Write constraints.txt from what is installed
	@echo '# Exact versions that the tests ran with. Made by `make pins`; used by `make` and .ci/run.' > constraints.txt
	$(BIN)/uv pip freeze --python $(BIN)/python --exclude-editable | grep -viE '^(uv|resnetlab)==' >> constraints.txt

results: $(READY) ## Write the committed reports again from the values beside them
	$(BIN)/python -c 'from pathlib import Path; from resnetlab.reports import fixres; from resnetlab.reports.write import rebuild; [(rebuild if p.name == "report.json" else fixres.rebuild)(p.parent) for p in Path("results").glob("*/*.json")]'

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
