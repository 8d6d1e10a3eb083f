# Everything a reader, writer or teacher does with this repository. `make help` lists it.
# Needs git, make and Python 3.11 or later (with its venv module); everything else is installed into .venv, whose
# interpreter is the newest of $(VERSIONS) that this machine has. `make test` needs a Python 3.11 or 3.12, too: the
# oldest versions and Colab's exist for no later one. So every run checks both ends.

PYTHON ?=# another interpreter of .venv; make book PYTHON=python3.12
VERSIONS = 3.14 3.13 3.12 3.11
JOBS ?= 2# test processes
KEEP_GOING ?=# make book KEEP_GOING=1: a chapter that fails becomes a page that says so
PORT ?= 8000# where `make serve` listens; 0 takes any free port
SUITE ?= exact# what `make bench` times, into a file of this machine in attnlib/book/data/
SEED ?= 0# make assignments SEED=7 changes every number of them
VERSION =# what `make release` cuts
DRY = 1# 0: it writes
INDEX =# 1: notebooks install the release from the package index
BENCH ?=# further arguments of benchmarks/run.py, table.py or heads.py
PIP = bin/python -m pip --disable-pip-version-check --quiet install

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help interpreters find book pdf epub slides test test-full test-library serve notebooks assignments lint lock linkcheck bench bench-table bench-heads release clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

book: .venv/.attnlib ## execute every chapter, build the pages in _build/html
	.venv/bin/python -m tools.build $(if $(KEEP_GOING),--keep-going)

pdf: book ## the whole book as _build/html/the-cost-of-attention.pdf (needs Chromium)
	.venv/bin/python -m tools.shelf.pdf

epub: book ## the whole book as _build/html/the-cost-of-attention.epub
	.venv/bin/python -m tools.shelf.epub

slides: book ## slides of six chapters, HTML and PDF, in _build/html/slides (needs Chromium)
	.venv/bin/python -m tools.shelf.slides

# Where the time went is kept by each run of pytest, and printed by the last.
test test-full: export ATTNLIB_TIMES = _build/times
# What every mechanism and every public name promises, what leans on the inside of JAX, and the examples;
# `make test-full` adds the other tests.
CONTRACT = -m "not newest" tests/contract.py tests/test_api.py tests/test_count.py attnlib

test: interpreters lint book .venv-oldest/.attnlib .venv-colab/.attnlib ## run everything that can fail (up to an hour on 2 cores)
	@$(if $(ATTNLIB_FULL),,rm -rf $(ATTNLIB_TIMES))
	@echo "== the library on the oldest versions it promises (locks/oldest.txt): $(if $(ATTNLIB_FULL),all of it,the contract)"
	.venv-oldest/bin/python -m pytest -q -n $(JOBS) $(if $(ATTNLIB_FULL),--ignore=tests/book,$(CONTRACT))
	@echo "== everything"
	.venv/bin/python -m pytest -q -n $(JOBS) --dist loadgroup

test-full: export ATTNLIB_FULL = 1
test-full: interpreters .venv-colab-test/.attnlib .venv-peers/.attnlib ## the same with all random trials, on every Python there is, and Colab's JAX
	@rm -rf $(ATTNLIB_TIMES)
	for v in $(HERE); do \
		$(MAKE) .venv-$$v/.attnlib; \
		echo "== the library on Python $$v (requirements.txt)"; \
		.venv-$$v/bin/python -m pytest -q -n $(JOBS) --ignore=tests/book; done
	@echo "== the library on Colab's versions (locks/colab.txt)"
	.venv-colab-test/bin/python -m pytest -q -n $(JOBS) --ignore=tests/book
	@echo "== agreement with published programs (benchmarks/requirements.txt)"
	.venv-peers/bin/python -m pytest -q -m published tests/test_published.py tests/test_published_models.py
	$(MAKE) test

test-library: .venv/.attnlib ## run the tests of attnlib alone
	.venv/bin/python -m pytest -q -n $(JOBS) --ignore=tests/book

serve: book ## build, then serve the book on this machine
	.venv/bin/python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

notebooks: book ## regenerate notebooks/ from the chapters
	.venv/bin/python -m tools.notebooks

assignments: .venv/.attnlib ## mark the assignments' solutions, write student notebooks and archives to _build/assignments
	.venv/bin/python -m tools.assignments --seed $(SEED)

lint: .venv/.attnlib ## style, types, and numbers in prose that no cell has computed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/python -m tools.format_cells --check chapters/*.md
	.venv/bin/python -m tools.lint_numbers chapters/*.md index.md README.md

linkcheck: .venv/.attnlib ## ask every address in the book whether it answers (needs the network)
	.venv/bin/python -m tools.linkcheck

bench: .venv-bench/.attnlib ## time attention beside its peers, write attnlib/book/data/ (half an hour, BENCH=--quick: minutes)
	.venv-bench/bin/python benchmarks/run.py $(SUITE) $(BENCH)

bench-table: .venv/.attnlib ## time layers over length and width, write benchmarks/table.json (a minute, BENCH=--quick: less)
	.venv/bin/python benchmarks/table.py $(BENCH)

bench-heads: .venv/.attnlib ## train small models, write attnlib/book/data/heads.npz (two minutes, BENCH=--quick: two steps each)
	.venv/bin/python benchmarks/heads.py $(BENCH)

release: .venv/.attnlib ## build and check wheel and source archive; VERSION=0.2.0 says what a release changes, DRY=0 changes it
	.venv/bin/python -m tools.release $(VERSION) $(if $(filter 0,$(DRY)),--write) $(if $(filter 1,$(INDEX)),--index)

clean: ## remove what was built, and the environments
	rm -rf _build .venv .venv-* *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# --- Environments ---------------------------------------------------------------------------------------------------
# A stamp is written last, so an installation that was killed has none and is made again from nothing.
# $(call environment,directory,interpreter,arguments of pip install)
define environment
	@if [ ! -e $(1)/.stamp ]; then $(call need,$(1),$(2)) "$(2)" -m venv --clear $(1); fi
	@rm -f $(1)/.stamp
	@echo "installing into $(1)"
	@$(1)/$(PIP) $(3)
	@touch $(1)/.stamp
endef

# One clear line instead of what comes of a missing interpreter.
# $(call need,directory,interpreter or nothing)
need = [ -n "$(2)" ] || \
	{ echo "make: $(1) needs $($(1)) and none was found; name one with PYTHON=/path/to/python" >&2; exit 1; }; \
	"$(2)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo "make: '$(2)' is not Python 3.11 or later; name one with PYTHON=/path/to/python" >&2; exit 1; }; \
	"$(2)" -c 'import ensurepip, venv' 2>/dev/null || \
	{ echo "make: '$(2)' lacks its venv module (on Debian: apt install python3-venv)" >&2; exit 1; };
# What each needs: the locked versions have wheels for these.
.venv = Python 3.14, 3.13, 3.12 or 3.11
.venv-lock = Python 3.11 or later
.venv-oldest = Python 3.11 or 3.12
.venv-colab = Python 3.11 or 3.12
.venv-colab-test = Python 3.11 or 3.12
.venv-bench = Python 3.11 or later
.venv-peers = Python 3.11 or later

# attnlib itself: its own stamp, because pyproject.toml changes more often than the lock.
# $(call install-attnlib,directory)
define install-attnlib
	@$(1)/$(PIP) --no-deps --editable .
	@touch $(1)/.attnlib
endef

# The first working interpreter of these versions, in their order: $(PYTHON), on the PATH, or kept by pyenv (whose shims
# exist even for versions that are not active, so each candidate is tried). Nothing when there is none.
find-python = $(shell for v in $(1); do \
	for p in "$(PYTHON)" "python$$v" python3 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$v*/bin/python; do \
	"$$p" -c 'import ensurepip, sys, venv; sys.exit("%d.%d" % sys.version_info[:2] != sys.argv[1])' "$$v" \
	>/dev/null 2>&1 && echo "$$p" && exit; done; done)

# The interpreter of .venv, and the versions of which this machine has one.
NEWEST = $(or $(PYTHON),$(call find-python,$(VERSIONS)))
HERE = $(foreach v,$(VERSIONS),$(if $(call find-python,$(v)),$(v)))

find: # what .ci/run asks: make find VERSIONS="3.14 3.13"
	@echo $(call find-python,$(VERSIONS))

# Asked first: to learn of a missing interpreter after minutes of building is a nuisance.
interpreters:
	@if [ ! -e .venv-oldest/.stamp ]; then $(call need,.venv-oldest,$(call find-python,3.11 3.12)) true; fi
	@if [ ! -e .venv-colab/.stamp ]; then $(call need,.venv-colab,$(call find-python,3.12 3.11)) true; fi

.venv/.stamp: requirements.txt
	$(call environment,.venv,$(NEWEST),-r requirements.txt)

.venv-oldest/.stamp: locks/oldest.txt
	$(call environment,.venv-oldest,$(call find-python,3.11 3.12),-r locks/oldest.txt)

# What a Colab runtime has, and nothing that builds the book: the notebooks are run here.
.venv-colab/.stamp: locks/colab.txt
	$(call environment,.venv-colab,$(call find-python,3.12 3.11),-r locks/colab.txt)

.venv-colab-test/.stamp: locks/colab.txt
	$(call environment,.venv-colab-test,$(call find-python,3.12 3.11),-c locks/colab.txt --editable '.[test]')

# The peers. PyPI's torch for Linux is made for CUDA, and torch is compared on the CPU: where PIP_FIND_LINKS or
# PIP_EXTRA_INDEX_URL offers its CPU build of the same version, pip takes that.
.venv-bench/.stamp: benchmarks/requirements.txt
	$(call environment,.venv-bench,$(NEWEST),-r benchmarks/requirements.txt)

# The same for tests of what peers compute: on the oldest Python, for which they need the fewest packages.
.venv-peers/.stamp: benchmarks/requirements.txt
	$(call environment,.venv-peers,$(call find-python,3.11 3.12 3.13 3.14),-r benchmarks/requirements.txt)

# Every Python for which there is a lock, for test-full.
$(patsubst %,.venv-%/.stamp,$(VERSIONS)): .venv-%/.stamp: requirements.txt
	$(call environment,.venv-$*,$(call find-python,$*),-c requirements.txt --editable '.[test]')

%/.attnlib: %/.stamp pyproject.toml
	$(call install-attnlib,$*)

# --- Locks ------------------------------------------------------------------------------------------------------------
# Exact versions for every Python and platform, remade from pyproject.toml. uv has an environment of its own, so that
# it is not part of what it locks. Written beside, then renamed. Colab's lock is not universal: the numpy it has does
# not exist for later Pythons.
COMPILE = .venv-lock/bin/uv pip compile --quiet --python-version 3.11 --no-annotate --no-header
# $(call lock,file,first line,arguments of uv)
define lock
	@{ printf '# %s\n# Made from pyproject.toml by `make lock`; do not edit.\n' "$(2)"; $(COMPILE) $(3); } > $(1).new
	@mv $(1).new $(1)
	@echo "wrote $(1)"
endef

lock: .venv-lock/.stamp ## remake requirements.txt and locks/ from pyproject.toml
	$(call lock,requirements.txt,Everything that builds and checks the book.,--universal pyproject.toml --extra check)
	$(call lock,locks/oldest.txt,The oldest versions attnlib promises to work with.,--universal pyproject.toml --extra test --resolution lowest-direct)
	$(call lock,locks/colab.txt,What a Colab runtime has (locks/colab.in) and what installing attnlib[book] adds to it.,locks/colab.in pyproject.toml --extra book)
	$(call lock,benchmarks/requirements.txt,What attnlib is timed beside and compared with (benchmarks/requirements.in) and what it needs. No CUDA.,--universal benchmarks/requirements.in pyproject.toml --extra test)
	@sed -E '/^(cuda|nvidia)/d' benchmarks/requirements.txt > benchmarks/requirements.txt.new
	@mv benchmarks/requirements.txt.new benchmarks/requirements.txt

.venv-lock/.stamp:
	$(call environment,.venv-lock,$(NEWEST),uv)
