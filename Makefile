# Everything sets itself up: a virtual environment in .venv, the package in it, then the job.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow lint types clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed            ## the main job, from nothing to a report
	$(BIN)/slidesurv demo -o demo

test: $(VENV)/installed-dev        ## the tests
	$(BIN)/python -m pytest

test-slow: $(VENV)/installed-dev   ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/installed-dev
	$(BIN)/mypy

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "slidesurv needs Python 3.11 or newer: set PYTHON=python3.11, say."; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[slides]'
	touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) demo
