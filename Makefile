# Every target makes the environment it needs: `make test` on a bare machine with Python 3.11 or later is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: demo test lint bench clean
.DELETE_ON_ERROR:

$(VENV)/ready: pyproject.toml .ci/constraints.txt $(wildcard src_ext/*.[ch])
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c .ci/constraints.txt -e '.[all,dev]'
	@touch $@

demo: $(VENV)/ready
	$(BIN)/mmtk demo

test: $(VENV)/ready
	$(BIN)/python -m pytest -n 2 -p no:benchmark $(ARGS)

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/ready
	$(BIN)/python -m pytest benchmarks --benchmark-only $(ARGS)

clean:
	rm -rf $(VENV) build *.egg-info mmtk/_native*.so demo
