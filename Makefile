# Two commands for a newcomer: make demo, make test.  Only Python 3.11 to 3.13 and make are needed for the first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz lint format servers bench clean

help:
	@echo "make demo    three pretend homes, from consent to right totals; Ctrl-C ends it"
	@echo "make test    everything the tests need, then lint and the tests"
	@echo "make fuzz    the parsers under injured answers, for some minutes (EXAMPLES=20000)"
	@echo "make lint    ruff, mypy, the floors"
	@echo "make format  let ruff write"
	@echo "make bench   the benchmarks, one JSON object each"
	@echo "make clean   remove what make has built"

demo: $(VENV)/.installed
	@$(BIN)/releve demo $(ARGS)

test: lint servers
	$(BIN)/pytest $(ARGS)

EXAMPLES ?= 20000
fuzz: $(VENV)/.installed-dev
	RELEVE_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/pytest tests/fuzz $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# CouchDB's stand-in; the tests start it, and the other servers, by themselves.
servers:
	@sh tests/install_servers.sh

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/nightly.py
	$(BIN)/python benchmarks/backfill.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	  || { echo "Relève needs Python 3.11 to 3.13: make PYTHON=/path/to/python3.12 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "python -m venv failed: install it (Debian: apt-get install python3-venv)"; exit 1; }

$(VENV)/.installed: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) .test-servers .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
