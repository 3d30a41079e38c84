# Two commands do it all: `make train` and `make test`. `make help` lists the rest.

# The Python that makes the virtual environment, 3.11 or newer.
PYTHON ?= python3
# Where the virtual environment lies.
VENV ?= .venv
# Where the virtual environment of `make bench` lies, with the trainers that are compared.
BENCH_VENV ?= .venv-bench
# Where `make wheel` puts the wheel.
DIST ?= dist
# The commit that `make same-bits` compares with.
BASE ?= HEAD
# A package index for torch besides pip's own sources; empty: from those alone. On Linux, PyPI's
# build of torch is the one for NVIDIA GPUs (several GB), so a machine without a GPU wants
#   make train TORCH_INDEX=https://download.pytorch.org/whl/cpu
# and one whose driver is too old for PyPI's build wants the address for its CUDA version from
# https://pytorch.org/get-started/locally/. macOS and Windows need none for the CPU.
TORCH_INDEX ?=

BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
SETTINGS := pyproject.toml constraints.txt
SCHEMA := $(BIN)/check-jsonschema --builtin-schema vendor.github-
LINKS := $(BIN)/lychee --offline --include-fragments --no-progress
PEERS := benchmarks/peers/requirements.txt

.DEFAULT_GOAL := help
.PHONY: help install train notebook test test-faults lint docs bench same-bits wheel clean

help: ## list the commands
	@echo "usage: make COMMAND [PYTHON=$(PYTHON)] [VENV=$(VENV)] [TORCH_INDEX=URL]"
	@sed -n 's/^\([a-z-]*\):[^#]*## /  \1:	/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

train: $(VENV)/.installed ## install what is missing, then train the demo on the embedded images
	$(BIN)/onecycle train demo

notebook: $(VENV)/.installed-notebook ## install JupyterLab and open the notebooks in it
	$(BIN)/jupyter lab notebooks/CIFAR10_Custom_ResNet.ipynb

test: $(VENV)/.installed-dev ## install what is missing, then run the whole test suite
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-faults: $(VENV)/.installed-dev ## break runs on purpose, in 20 minutes of real processes
	$(BIN)/python -m pytest -n 2 --dist loadfile -m faults

install: $(VENV)/.installed-dev ## install the package, and all that tests and lint need

lint: $(VENV)/.installed-dev ## style, types, layers, workflows: ruff, pyright, import-linter, schemas
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(SCHEMA)workflows .github/workflows/*.yml
	$(SCHEMA)issue-forms .github/ISSUE_TEMPLATE/[bq]*.yml
	$(SCHEMA)issue-config .github/ISSUE_TEMPLATE/config.yml

docs: $(VENV)/.installed-docs ## build the site in site/, API reference included, and check all links
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(LINKS) --root-dir "$(CURDIR)/site" "site/**/*.html"
	$(LINKS) *.md docs/*.md benchmarks/*.md tests/*.md

bench: $(BENCH_VENV)/.installed-peers ## measure the speed against other trainers: 15 minutes, idle machine
	$(BENCH_VENV)/bin/python -m benchmarks.speed

same-bits: $(VENV)/.installed-dev ## compare the bits of four tiny runs with another commit: BASE=origin/main
	$(BIN)/python -m benchmarks.same_bits "$(BASE)"

wheel: | $(BIN)/pip ## build the wheel
	rm -rf build
	$(BIN)/python -m pip wheel --disable-pip-version-check --no-deps --wheel-dir "$(DIST)" .

clean: ## remove all that these commands made, except the runs
	rm -rf build dist site *.egg-info .pytest_cache .hypothesis .ruff_cache .import_linter_cache
	rm -rf examples/browser/node_modules
	@for venv in "$(VENV)" "$(BENCH_VENV)"; do \
	  if [ -f "$$venv/pyvenv.cfg" ]; then echo "rm -rf $$venv"; rm -rf "$$venv"; fi; done

# The stamps remember what is installed: nothing is installed again until a setting changes.
$(VENV)/.installed: $(SETTINGS) | $(BIN)/pip
	@echo "Installing into $(VENV): once, a few minutes, mostly torch."
ifeq ($(TORCH_INDEX),)
	@[ "$$(uname -s)" != Linux ] || command -v nvidia-smi >/dev/null || \
	  echo "No NVIDIA GPU seen: TORCH_INDEX=https://download.pytorch.org/whl/cpu gets the small build of torch."
endif
	$(PIP_INSTALL) $(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)") torch
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@

$(VENV)/.installed-notebook: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[notebook]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[docs]'
	@touch $@

# An environment of its own, made by this Makefile with another VENV; torch stays as it is pinned.
$(BENCH_VENV)/.installed-peers: $(SETTINGS) $(PEERS)
	$(MAKE) --no-print-directory $(BENCH_VENV)/.installed VENV="$(BENCH_VENV)"
	"$(BENCH_VENV)/bin/python" -m pip install --disable-pip-version-check -c constraints.txt -r $(PEERS)
	@touch $@

$(BIN)/pip:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "$(PYTHON) not found: install Python 3.11 or newer, or name one: make PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "onecycle needs Python 3.11 or newer, and this is $$("$(PYTHON)" --version)." \
	       "Name another one: make PYTHON=python3.12"; exit 1; }
	"$(PYTHON)" -m venv "$(VENV)"
