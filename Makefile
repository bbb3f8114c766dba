# Everything a newcomer types. Needs make and Python 3.11 or newer; nothing else has to be installed or running.

PYTHON  ?= python3
VENV    ?= .venv
PORT    ?= 8000
DATA    ?= .tagwarden
ONCE    ?=
KEEP    ?=
TESTS   ?=
JOBS    ?= 2
FIGURES ?=

BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
SOURCES := backend tests migrations $(wildcard bench)
LOCKING := $(if $(UPGRADE),--upgrade) --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

# The stamp names the folder it was made in: a clone that was moved or renamed is installed anew.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

.DEFAULT_GOAL := help
.PHONY: help install demo test soak lint types layers check bench format env lock clean

help: ## this list
	@echo "Tagwarden: governed customer tags for WeCom."
	@echo
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1|\2/' | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'
	@echo
	@echo "  PYTHON=python3.12 chooses the Python that makes $(VENV)."

install: $(STAMP) ## make .venv with the hash-locked dependencies (the others do it by themselves)

demo: $(STAMP) ## the whole story with a simulated WeCom; ONCE=1 exits after it, KEEP=1 serves the folder again, PORT=, DATA=
	@$(BIN)/python -m tagwarden demo --port $(PORT) --data "$(DATA)" $(if $(ONCE),--once) $(if $(KEEP),--keep)

test: $(STAMP) ## every test; TESTS=tests/policy or TESTS="-k name" runs some, JOBS=0 in one process
	@$(BIN)/python -m pytest -m "not soak" -n $(JOBS) --dist loadfile --no-loadscope-reorder $(TESTS)

soak: $(STAMP) ## the long tests, for hours; TESTS= as above, TAGWARDEN_SOAK_ROUNDS= and TAGWARDEN_SOAK_SEED= in the environment
	@$(BIN)/python -m pytest -m soak -n $(JOBS) --dist worksteal $(TESTS)

lint: $(STAMP) ## ruff: mistakes and format
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)

types: $(STAMP) ## mypy, strict
	@$(BIN)/mypy

layers: $(STAMP) ## import-linter: the plan of the house in pyproject.toml
	@$(BIN)/lint-imports

check: lint types layers test ## all of the above, as CI does

bench: $(STAMP) ## measure the figures; FIGURES="decision audit" measures some
	@$(BIN)/python -m bench $(FIGURES)

format: $(STAMP) ## let ruff format and mend what it can
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

env: $(STAMP) ## write deploy/env.example from the settings
	@$(BIN)/python -m tagwarden.app.env_example > deploy/env.example

lock: ## write the lock files, with hashes and without addresses; UPGRADE=1 takes newer versions (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv on the PATH." >&2; exit 1; }
	@uv pip compile pyproject.toml $(LOCKING) --output-file requirements.lock
	@uv pip compile pyproject.toml --group dev $(LOCKING) --constraints requirements.lock --output-file requirements-dev.lock

clean: ## remove .venv and caches; data folders stay
	@test ! -e "$(VENV)/pyvenv.cfg" || rm -rf "$(VENV)"
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find backend tests migrations -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements-dev.lock
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON): install Python 3.11 or newer, or name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11: name a newer one, for example make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: install its venv package (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	@echo "Installing into $(VENV) (about a minute, once) ..."
	@test ! -e "$(VENV)/pyvenv.cfg" || rm -rf "$(VENV)"
	@$(PYTHON) -m venv "$(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@echo "$(CURDIR)" > $(STAMP)
