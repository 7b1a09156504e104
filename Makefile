# Begin with make demo, then make test. The demo needs only Python 3.11 to 3.13 and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TOOLS  := $(VENV)/tools
PIP    := $(BIN)/pip --quiet --disable-pip-version-check

# Keep bytecode even if the shell forbids it. Otherwise pytest compiles 500 modules in each of its processes.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-change test-rest test-all quick fuzz lint lock wheel version release sbom audit \
  digests format docs reference pictures servers bench bench-original clean

help:
	@echo "make demo       run three simulated homes, from consent to correct totals; Ctrl-C stops"
	@echo "make test       install what the tests need, lint, and run the tests of every change; T=tests/unit/… runs one place"
	@echo "make test-rest  run all that make test leaves out: browsers, other brokers, other Pythons, more examples, …"
	@echo "make test-all   both"
	@echo "make quick      ruff, and the rules alone: domain, clients, stores, sync; needs no server, takes a minute"
	@echo "make fuzz       test the parsers with damaged answers, for some minutes (EXAMPLES=20000)"
	@echo "make lint       ruff, mypy, import layers, texts and pages, compatible versions"
	@echo "make format     format and fix the code with ruff"
	@echo "make docs       build the documentation in build/site"
	@echo "make reference  renew the pages and the drawing that are generated from the code"
	@echo "make pictures   take the pictures of README and documentation again; needs Chromium"
	@echo "make servers    install the CouchDB stand-in and axe-core for the tests; needs npm and the network"
	@echo "make lock       update requirements/*.lock within the ranges of setup.cfg; needs the network"
	@echo "make wheel      build the package in dist/, with its commit, for pip and pipx"
	@echo "make version    write a new version wherever it stands, and its date in CHANGELOG.md: VERSION=0.3.0"
	@echo "make release    build a release in dist/ and print the commands that publish it: VERSION=0.3.0 IMAGE=REGISTRY/OWNER/releve"
	@echo "make sbom       list what is installed here, as CycloneDX, in build/sbom.cdx.json"
	@echo "make audit      look up known vulnerabilities of the locked packages; needs the network"
	@echo "make digests    print the digests of the images for .env; needs docker or skopeo, and the network"
	@echo "make bench      run the benchmarks; each prints a JSON object"
	@echo "make bench-original  compare with the original konnector; needs npm and the network the first time"
	@echo "make clean      remove what make has built"

demo: $(VENV)/.installed
	@$(BIN)/releve demo $(ARGS)

# A file a process at a time, in order.  Tests with servers wait more than they work, so there is one process more than
# cores; more than 8 would wait for the longest file.  ARGS="-n 0" runs one test after the other.
CORES  = $(shell $(PYTHON) -c "import os; print(min(os.cpu_count() or 1, 7))")
PYTEST = $(BIN)/pytest --dist loadfile --no-loadscope-reorder

# T=tests/unit/… runs one place, whatever its set, without lint, servers and processes.
ifdef T
test: $(VENV)/.installed-dev
	$(BIN)/pytest --durations=10 $(ARGS) $(T)
else
# Tests wait now and then, and lint fills these gaps.
test: $(VENV)/.installed-dev servers
	@$(MAKE) --no-print-directory --jobs 2 lint test-change

test-change:
	@$(PYTEST) --set change -n $$(($(CORES) + 1)) $(ARGS)
endif

# With all examples; SEED=7 runs them in another order. Then, on the other Pythons, what needs no server.
test-rest: export TEST_PROFILE := full
test-rest: $(VENV)/.installed-dev servers $(TOOLS)/.installed
	@failed=; \
	$(PYTEST) --set rest $(if $(SEED),--shuffle $(SEED)) -n $$(($(CORES) + 1)) $(ARGS) || failed=yes; \
	sh tests/other_pythons.sh $(BIN)/python || failed=yes; \
	test -z "$$failed"

# All tests, with nothing left out, leave a stamp for make release in build/tested.
test-all:
	@tree=$$($(PYTHON) -m tools.tested begin) && $(MAKE) test && $(MAKE) test-rest \
	  && $(if $(T)$(ARGS)$(SEED),true,$(PYTHON) -m tools.tested end "$$tree")

# No server and no socket: tests/conftest.py leaves out tests that need one, and refuses any socket.
PLACES ?= $(patsubst %,tests/unit/%,domain clients config stores sync tasks) tests/golden
quick: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(PYTEST) --quick --set change -n $(CORES) $(ARGS) $(PLACES)

EXAMPLES ?= 20000
fuzz: $(VENV)/.installed-dev
	RELEVE_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/pytest tests/fuzz $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m tools.check_texts
	$(BIN)/pip check --disable-pip-version-check

# The newest versions within the ranges, for Python 3.11 and later on every platform, with the hashes of their files.
# UPGRADE= keeps what is locked wherever setup.cfg still allows it.  The tests then hold the locks to the ranges.
UPGRADE := --upgrade
COMPILE = $(TOOLS)/bin/uv --quiet pip compile --python $(BIN)/python --universal --python-version 3.11 $(UPGRADE) \
  --generate-hashes --no-emit-index-url --custom-compile-command 'make lock'

lock: $(TOOLS)/.installed
	$(COMPILE) --group pyproject.toml:build --output-file requirements/build.lock
	$(COMPILE) --group pyproject.toml:tools --output-file requirements/tools.lock
	$(COMPILE) --build-constraints requirements/build.lock setup.cfg --output-file requirements/run.lock
	$(COMPILE) --build-constraints requirements/build.lock setup.cfg --extra otel --constraints requirements/run.lock \
	  --output-file requirements/otel.lock
	$(COMPILE) --build-constraints requirements/build.lock setup.cfg --all-extras --constraints requirements/run.lock \
	  --output-file requirements/dev.lock

# build/lib may hold files of an earlier build, which would be packed again.
wheel: $(VENV)/.installed
	@rm -rf build/lib
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

version: $(VENV)/.installed
	@$(BIN)/python -m tools.new_version "$(VERSION)"

# IMAGE_OPTIONS are for the program that builds the images, such as --build-arg BASE=python@sha256:…
IMAGE ?= localhost/releve
release: $(VENV)/.installed $(TOOLS)/.installed
	@$(BIN)/python -m tools.release --check --image "$(IMAGE)" "$(VERSION)"
	@$(BIN)/python -m tools.tested check || $(MAKE) test-all
	@$(BIN)/python -m tools.tested check || { echo "make test-all has left no stamp: files have changed"; exit 1; }
	@$(BIN)/python -m tools.release --image "$(IMAGE)" --image-options="$(IMAGE_OPTIONS)" "$(VERSION)"

sbom: $(VENV)/.installed $(TOOLS)/.installed
	@mkdir -p build
	$(TOOLS)/bin/cyclonedx-py environment --output-reproducible --output-file build/sbom.cdx.json $(BIN)/python

# 1: a locked package has a known weakness, or one isn't known there; 2: no advisories are reached from here.
audit: $(TOOLS)/.installed
	@$(TOOLS)/bin/python -m tools.advisories $(ARGS)

digests:
	@$(PYTHON) -m tools.image_digests

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed-dev
	$(BIN)/zensical build --config-file mkdocs.yml --strict --clean
	@echo "read it: python3 -m http.server --bind 127.0.0.1 --directory build/site"

# Page and the module of tools/ that prints it; a page is replaced only when its module came to an end.
GENERATED := reference/settings.md=settings_reference reference/cli.md=cli_reference reference/schemas.json=schema_reference \
  reference/errors.md=error_reference reference/metrics.md=metrics_reference reference/licences.md=licence_reference \
  reference/states.md=state_reference explanation/floors.svg=floors_drawing

reference: $(VENV)/.installed-dev
	@mkdir -p build
	@set -e; for pair in $(GENERATED); do \
	  $(BIN)/python -m tools.$${pair#*=} > build/page; mv build/page docs/$${pair%%=*}; echo "docs/$${pair%%=*}"; done

# Of the demo and of a home at a simulator; needs Chromium and its driver.
pictures: $(VENV)/.installed-dev
	$(BIN)/python -m tools.pictures

# CouchDB's stand-in; the tests start it, and the other servers, by themselves.
servers:
	@sh tests/install_servers.sh

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/nightly.py
	$(BIN)/python benchmarks/backfill.py
	$(BIN)/python benchmarks/quota.py

# The first run needs the network: npm fetches what benchmarks/original/package-lock.json pins, 170 MB in .test-servers/.
bench-original: $(VENV)/.installed-dev servers
	@sh benchmarks/original/install.sh
	$(BIN)/python benchmarks/original/compare.py $(ARGS)

# CI runs 3.14, too; the pages name it once it has passed.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null \
	  || { echo "Relève needs Python 3.11 to 3.13: make PYTHON=/path/to/python3.12 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "python -m venv failed: install it (Debian: apt-get install python3-venv)"; exit 1; }

# All comes from requirements/*.lock, by hash; then this folder itself, built with what is installed, without a download.
EDITABLE := --no-deps --no-build-isolation --editable .

$(VENV)/.installed: requirements/build.lock requirements/run.lock setup.cfg setup.py pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV), one to three minutes, once"
	@$(PIP) install --require-hashes -r requirements/build.lock -r requirements/run.lock
	@$(PIP) install $(EDITABLE)
	@touch $@

$(VENV)/.installed-dev: requirements/build.lock requirements/dev.lock setup.cfg setup.py pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV) what the tests need, two to five minutes, once"
	@$(PIP) install --require-hashes -r requirements/build.lock -r requirements/dev.lock
	@$(PIP) install $(EDITABLE)
	@touch $@ $(VENV)/.installed

# In a separate environment: the tools that list and audit packages must not be among them.
$(TOOLS)/.installed: requirements/tools.lock | $(VENV)/bin/python
	@$(BIN)/python -m venv $(TOOLS)
	$(TOOLS)/bin/pip --quiet --disable-pip-version-check install --require-hashes -r requirements/tools.lock
	@touch $@

clean:
	rm -rf $(VENV) .test-servers .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
