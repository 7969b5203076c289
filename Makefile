# Everything a person does here. Needs make and python3 (3.11 or newer), nothing else.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# the build of TensorFlow without GPU code is a tenth of the download; it exists for x86_64 only
ifndef TENSORFLOW
  ifneq ($(wildcard /proc/driver/nvidia/version),)
    TENSORFLOW := tensorflow[and-cuda]
  else ifeq ($(shell uname -sm),Linux x86_64)
    TENSORFLOW := tensorflow-cpu
  else
    TENSORFLOW := tensorflow
  endif
endif

# kills in `make crash` and `make series`
N ?= 1000
# seconds of `make fuzz`
FUZZ_S ?= 180
# environments of `make test-keras`; with RECORD=1 it writes the table of known versions
KERAS ?= all
RECORD ?=
# more arguments: make test ARGS="-k inbox", make demo ARGS="--home /tmp/demo"
ARGS ?=

# the tiers, by the markers of pyproject.toml
QUICK := promise or not (slow or faults or systemd)
SLOW  := slow and not (promise or faults or systemd)
# these have the machine to themselves: a full disk, a memory kill or a clock of one test must not
# be taken for its own by another
ALONE := (faults or systemd) and not promise
# most tests wait for processes and disks longer than they compute: more workers than cores
WORKERS ?= $(shell expr $$(nproc) + 2)
# one test at a time to the worker that is free; those of an xdist_group to one worker
PARALLEL := -n $(WORKERS) --maxprocesses 8 --dist loadgroup
# else each of the thousands of processes of the tests would compile rekindle for itself
unexport PYTHONDONTWRITEBYTECODE
# `make coverage` runs the quick tests of these; with MEASURED=1 `make test` leaves them out
COVERED := tests/daemon tests/state
MEASURED ?=
REST := $(if $(MEASURED),$(addprefix --ignore=,$(COVERED)))

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-keras check coverage corpus series crash fuzz bench man reference docs report-images clean

help: ## say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' \
		| awk -F'|' '{printf "%-15s %s\n", $$1, $$2}'
	@echo
	@echo '  TENSORFLOW=tensorflow  another build than the $(TENSORFLOW) chosen for this machine'
	@echo '  PYTHON=python3.12      another interpreter for .venv'
	@echo '  ARGS="..."             more arguments for demo, test and bench'

setup: $(STAMP) ## make .venv with everything (the other targets do it when needed)

demo: $(STAMP) ## train, kill the training twice, find it finished and bit-identical
	@$(BIN)/rekindle demo $(ARGS)

test: $(STAMP) ## run the quick tests: every promise once, in minutes (ARGS="..." for any others)
ifeq ($(strip $(ARGS)),)
	$(BIN)/python -m pytest $(PARALLEL) -m "$(QUICK)" $(REST)
else
	$(BIN)/python -m pytest $(ARGS)
endif

test-all: test ## run the quick tests, then all the others
	$(BIN)/python -m pytest $(PARALLEL) -m "$(SLOW)"
	$(BIN)/python -m pytest -m "$(ALONE)"

check: $(STAMP) ## lint, type-check, spell-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

coverage: $(STAMP) ## run the quick tests of daemon and state; fail below the floor of pyproject.toml
	rm -rf .coverage-data
	$(BIN)/coverage run -m pytest $(PARALLEL) -m "$(QUICK)" $(COVERED)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

corpus: $(STAMP) ## kill scripts in public idioms, compare with undisturbed runs, print a table
	STRIKE_USED=sklearn $(BIN)/python tests/support/corpus.py $(ARGS)

series: $(STAMP) ## kill matrix and corpus N times (N=1000); the same command continues a series
	STRIKE_USED=sklearn $(BIN)/python tests/support/series.py --kills $(N) $(ARGS)

test-keras: $(STAMP) ## kill trainings in other versions of Keras (KERAS=NAME,... for some)
ifeq ($(strip $(RECORD)),)
	REKINDLE_KERAS=$(KERAS) $(BIN)/python -m pytest -rs tests/keras
else
	$(BIN)/python tests/support/keras_table.py record $(KERAS)
endif

crash: $(STAMP) ## kill training N times (N=1000) and compare with undisturbed runs
	REKINDLE_CRASH_KILLS=$(N) $(BIN)/python -m pytest -m crash -s $(ARGS) tests/crash

fuzz: $(STAMP) ## fuzz the parsers for FUZZ_S seconds (180), guided by coverage
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	$(BIN)/python tests/fuzz/fuzz_parsers.py -max_total_time=$(FUZZ_S) $(ARGS)

bench: $(STAMP) ## measure speed and size; write docs/performance.md (ARGS=--large, --short, --others)
	@$(BIN)/python -c 'import orbax.checkpoint' 2>/dev/null || $(BIN)/python -m pip install --quiet \
		--disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	@$(BIN)/python benchmarks/suite/measure.py $(ARGS)

report-images: $(STAMP) ## run a night with kills and take the pictures of docs/report.md
	PYTHONPATH=.importroot $(BIN)/python tests/support/report_night.py $(or $(FOLDER),/tmp/rekindle-night) --images docs/images

man: $(STAMP) ## write the manual page from the verbs' options
	PYTHONPATH=.importroot $(BIN)/python tests/support/manual_page.py

reference: man ## write what is made of the code: manual page, docs/reference, schemas for editors
	PYTHONPATH=.importroot $(BIN)/python tests/support/reference_pages.py
	PYTHONPATH=.importroot $(BIN)/python -m rekindle.daemon.schemas docs

docs: $(STAMP) ## build the site of the documents into site/; a warning or dead link is an error
	$(BIN)/sphinx-build --fresh-env --fail-on-warning --keep-going --quiet \
		--doctree-dir build/doctrees --conf-dir docs/site . site
	@echo "site/index.html"

clean: ## remove .venv and everything that was built
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage-data
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# the stamp is made last: an installation that was cut off is done again. tf-keras (Keras 2, for
# tests) would ask for the package `tensorflow`, whatever build is there
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "rekindle needs Python 3.11 or newer; '$(PYTHON)' is not. Install one and say" >&2; \
		echo "  make $(or $(MAKECMDGOALS),setup) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments: its venv package is missing." >&2; \
		echo "  Debian, Ubuntu:  apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) with $(TENSORFLOW); this takes some minutes the first time."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt '$(TENSORFLOW)' --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --no-deps tf-keras
	@touch $@
