# Two commands are all a fresh machine needs: `make demo` and `make test`. Both make .venv from constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test test-slow lint tables bench clean help

help:            ## this list
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed  ## the main job, end to end, on the embedded model organisms
	@wpn data fetch
	@wpn run

test: $(VENV)/.installed lint  ## all tests but the slow ones
	@python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.installed  ## the slow tests
	@python -m pytest -m slow

lint: $(VENV)/.installed  ## format, lint, types
	@ruff format --check --quiet .
	@ruff check --quiet .
	@mypy

tables: $(VENV)/.installed  ## write the tables of README and docs from results/
	@python -m benchmarks.tables

bench: $(VENV)/.installed  ## the published figures, time and memory too; writes results/organisms.json
	@python -m benchmarks.organisms --seeds 341 342 343

clean:           ## remove what was computed; data, registry and the DVC cache stay
	rm -rf build
