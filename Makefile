# One loop, few tools. Needs Python 3.11 or newer with venv, make, and a network for the packages.
VENV   ?= .venv
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN    := $(VENV)/bin
SOURCES := shared offline_station online_station tax_bureau tests benchmarks docs

.PHONY: help setup demo test long reliability fmt lint types contracts docs pages pictures bench check
help:            ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12
setup: $(VENV)/.ready  ## make .venv with everything in it
demo: setup      ## the whole round trip on this machine, into ./demo; PAGES=1 opens the pages beside it
	$(BIN)/python -m tests.journey.demo $(if $(PAGES),--pages)
test: setup      ## all tests but the slow ones
	$(BIN)/python -m pytest -n auto -m "not slow"
long: setup      ## the slow tests too, with many more examples
	TAXFERRY_PROFILE=long $(BIN)/python -m pytest -n auto --timeout 1800
reliability: setup ## the fault campaigns on sticks, all of them; rewrites docs/reliability.md
	rm -rf build/reliability
	TAXFERRY_RELIABILITY=$(CURDIR)/build/reliability $(BIN)/python -m pytest -n auto --timeout 1800 -m "slow or not slow" tests/faults/test_stick_*.py
	$(BIN)/python -m docs.reliability build/reliability
fmt: setup       ## format, and repair what can be repaired
	$(BIN)/ruff format $(SOURCES) && $(BIN)/ruff check --fix $(SOURCES)
lint: setup      ## style and likely mistakes
	$(BIN)/ruff format --check $(SOURCES) && $(BIN)/ruff check $(SOURCES)
types: setup     ## mypy, strict
	$(BIN)/mypy
contracts: setup ## who may import whom
	$(BIN)/lint-imports --no-cache
docs: $(VENV)/.ready-docs  ## the manual, into build/docs; a warning is an error
	$(BIN)/sphinx-build -W --keep-going -q -b html docs build/docs
pages: setup     ## rewrite the manual's pages that come from the code
	$(BIN)/python -m docs.generate
pictures: setup  ## take the manual's pictures of the pages anew; needs chromium
	TAXFERRY_PICTURES=1 $(BIN)/python -m pytest -q tests/browser/test_pictures.py
bench: setup     ## memory and speed, with a million invoices and a thousand reports
	$(BIN)/python -m benchmarks.envelope
	$(BIN)/python -m benchmarks.ledger
	$(BIN)/python -m benchmarks.stick
	$(BIN)/python -m benchmarks.pages
check: lint types contracts test docs  ## everything that a change must pass

$(VENV)/.ready: pyproject.toml
	@test -n "$(PYTHON)" || { echo "taxferry needs Python 3.11 or newer; name one: make setup PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[bureau,dev]'
	@touch $@
$(VENV)/.ready-docs: $(VENV)/.ready
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[docs]'
	@touch $@
