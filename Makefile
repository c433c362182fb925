# Tasks for contributors. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
# Tests run in parallel, one process per core, with one thread each. Each process starts with a part of the files and takes
# over tests of another process when it has none left. If a test kills its process, the others continue and the run fails
# with the name of that test.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal
TYPES := $(BIN)/mypy && $(BIN)/mypy --config-file tests/mypy.ini && $(BIN)/lint-imports
READY := .venv/ready
# The tests start hundreds of processes. Without compiled files each of them would compile all modules again.
export PYTHONDONTWRITEBYTECODE :=
.DEFAULT_GOAL := help
.PHONY: help demo docs docs-check course test test-all lint style types format bench bench-gpu bench-startup browser-parity judge-parity reliability sabotage test-trackers audit licenses hashes pins results rejudged report-check clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: $(READY) ## Run the study `digits` (two minutes on two cores) and print the path of its report
	$(BIN)/resnetlab study run digits

docs: $(READY) ## Build the documentation as a site in site/, which opens from disk (its page judge.html needs npm once)
	$(BIN)/python docs/judge_bundle.py
	$(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

docs-check: docs ## Open every page of the site in Chromium and check it by axe (needs node, Chromium and npm)
	$(BIN)/python tests/site_audit.py site

report-check: $(READY) ## Use the pages of the committed reports in Chromium and check them by axe (needs node, Chromium and npm)
	$(BIN)/python tests/report_audit.py $(patsubst %.json,%.html,$(wildcard results/*/report.json))

browser-parity: $(READY) ## Compare an exported page with predict: PAGE=x.html MODEL=x PHOTOS=folder (needs node, Chromium and npm)
	$(BIN)/python tests/browser_parity.py $(foreach name,PAGE MODEL PHOTOS,$(or $($(name)),$(error give $(name)=...: make browser-parity PAGE=pets.html MODEL=pets PHOTOS=photos)))

judge-parity: docs ## Compare the page that judges in a browser with the command (needs node, Chromium and npm)
	$(BIN)/python tests/judge_parity.py site

# Style is checked before the tests, which take minutes. Types and import layers are checked while the tests run, and
# their messages follow at the end.
test: $(READY) style ## Check style, types and import layers, and run the fast tests (set-up included)
	@{ $(TYPES); } > .venv/types.log 2>&1 & types=$$!; \
	$(PYTEST) -m "not slow"; tests=$$?; wait $$types; checked=$$?; cat .venv/types.log; exit $$((tests | checked))

test-all: $(READY) lint ## Run all tests with coverage, also the slow ones (kills, races, calibration)
	$(PYTEST) --hypothesis-profile all --cov --cov-report=term

lint: style types ## Check style, types and import layers

style: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(TYPES)

format: $(READY) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-gpu: $(READY) ## Compare with a stock loop on one CUDA GPU (9 minutes); writes benchmarks/gpu.json
	PYTHONPATH=src $(BIN)/python benchmarks/gpu.py

reliability: $(READY) ## Run every promise in full (an hour), or those named PROMISE=word; writes docs/reliability.md
	PYTHONPATH=src $(BIN)/python docs/reliability.py "$(PROMISE)" "$(TEST)"

sabotage: $(READY) ## Remove each safeguard in turn and show that the tests of the promises fail
	$(BIN)/python tests/sabotage.py

test-trackers: $(READY) ## Read with the real MLflow server, Weights & Biases and trackio (700 MB)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --target .trackers "mlflow==3.17.2" "wandb==0.31.0" "trackio==0.43.0"
	PYTHONPATH=.trackers $(BIN)/python -m pytest -q tests/tracking

audit: $(READY) ## Look up the pinned packages in the advisory database of PyPI (needs a network)
	$(BIN)/python tests/audit.py

licenses: $(READY) ## Write docs/licenses.md from the metadata of the installed packages
	$(BIN)/python docs/licenses.py

# The installers of torch for a CPU and for CUDA have one version and different hashes, and which one a machine takes
# is its own choice. So the hashes are a file on request, for those who install from PyPI: `uv pip install
# --require-hashes --requirement hashes.txt`.
hashes: $(READY) ## Write hashes.txt: the pinned packages with the SHA-256 of their files on PyPI
	$(BIN)/uv pip compile --quiet --no-header --no-annotate --no-deps --generate-hashes --output-file hashes.txt constraints.txt

pins: $(READY) ## Write constraints.txt from the installed packages
	@echo '# Exact versions that the tests ran with. Written by `make pins`; used by `make` and .ci/run.' > constraints.txt
	$(BIN)/uv pip freeze --python $(BIN)/python --exclude-editable | grep -viE '^(uv|resnetlab)==' >> constraints.txt

results: $(READY) ## Build the committed reports again from their stored values
	$(BIN)/python -c 'from pathlib import Path; from resnetlab.reports import fixres; from resnetlab.reports.write import rebuild; [rebuild(p.parent) for p in Path("results").glob("*/report.json")]; [fixres.rebuild(p.parent) for p in Path("results").glob("*/fixres.json")]'

rejudged: $(READY) ## Judge the published tables of results/rejudged again and write their page
	PYTHONPATH=src $(BIN)/python benchmarks/rejudged.py

course: $(READY) ## Write the values and the pages of the course (docs/course) from the catalog
	PYTHONPATH=src $(BIN)/python docs/course.py values
	PYTHONPATH=src $(BIN)/python docs/course.py pages

bench: $(READY) ## Compare training steps with stock loops (twenty minutes on a quiet machine)
	$(BIN)/python benchmarks/steps.py

bench-startup: $(READY) ## Measure the start-up time of commands (five minutes)
	$(BIN)/python benchmarks/startup.py

clean: ## Remove the environment and files of tools (runs and reports stay)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage* dist site

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "resnetlab needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable ".[dev]"
	@touch $@
