# Needs Python 3.11 or newer, make, and a C compiler for the fast twin. Each target sets up what it needs, once.
#
#   make demo        show it at work
#   make test        the suite, with each twin
#   make check       format, lint, types, layering; `make -k check` does not stop at the first that fails
#   make fix         format, and mend what lint can mend
#   make test-all    `make test` under every interpreter that is found
#   make model       the mechanism, explored in every schedule, with the faults that it must find
#   make torture     readers and removals of every kind at once, and a verdict
#   make busted      the torture of broken mechanisms: each must fail
#   make sanitize    the specification and a storm under AddressSanitizer and UndefinedBehaviorSanitizer
#   make instructions  the instructions of an access, by callgrind, compared with those that are kept; ARGS=--accept keeps these
#   make native      an access in C alone, beside liburcu's read side
#   make nightly     the long ones of all these, with ThreadSanitizer and coverage, and a report in Markdown
#   make bench       what it costs, under every interpreter that is found, into docs/performance; ARGS=--quick shows that it runs
#   make clean       remove what was set up
#
#   PYTHON=python3.13   another interpreter, in a .venv of its own        ARGS=...   more arguments: for pytest, the demo, the benchmarks

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

ifeq ($(origin PYTHON),undefined)
PYTHON := python3
VENV := .venv
TAG :=
else
TAG := $(shell .ci/interpreters tag '$(PYTHON)')
VENV := .venv-$(or $(TAG),none)
endif
RUN := $(VENV)/bin/python
# What was set up, and when: the twins that could be built.
READY := $(VENV)/twins

.PHONY: setup demo test check format lint mypy pyright floors fix test-all model torture busted sanitize instructions native nightly bench \
        figures clean

setup: $(READY)

$(READY): pyproject.toml setup.py src/ref_proxy/_core.c src/ref_proxy/include/ref_proxy.h .ci/set-up
	@.ci/set-up '$(PYTHON)' $(VENV)

demo: $(READY)
	@$(VENV)/bin/ref-proxy demo $(ARGS)

# What says the same under every twin and interpreter runs once: in .venv, with the first twin.
test: $(READY)
	@only=$(if $(TAG),'not once') failed=0; \
	for twin in $$(cat $(READY)); do \
	    echo "== $$($(RUN) -VV), twin $$twin"; \
	    REF_PROXY_BACKEND=$$twin $(RUN) -m pytest -m "$$only" $(ARGS) || failed=1; \
	    only='not once'; \
	done; \
	exit $$failed

check: format lint mypy pyright floors
format: $(READY)
	$(RUN) -m ruff format --check --quiet .
lint: $(READY)
	$(RUN) -m ruff check --output-format concise .
mypy: $(READY)
	$(RUN) -m mypy
pyright: $(READY)
	$(RUN) -m pyright --pythonpath $(RUN)
floors: $(READY)
	$(RUN) -m pytest -q tests/meta/test_floors.py

fix: $(READY)
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

test-all: test
	@failed=; \
	while read -r tag path; do \
	    $(MAKE) --no-print-directory test PYTHON="$$path" || failed+=" $$tag"; \
	done < <(.ci/interpreters); \
	[ -z "$$failed" ] || { echo "failed under:$$failed"; exit 1; }

model:
	@'$(or $(shell command -v '$(PYTHON)'),$(PYTHON))' -m tests.model

torture: $(READY)
	@for twin in $$(cat $(READY)); do REF_PROXY_BACKEND=$$twin $(VENV)/bin/ref-proxy torture $(ARGS); done

busted: $(READY)
	@for twin in $$(cat $(READY)); do REF_PROXY_BACKEND=$$twin $(RUN) -m tests.stress.busted $(ARGS); done

sanitize: $(READY)
	@.ci/sanitize memory $(RUN)

instructions: $(READY)
	@$(RUN) -m benchmarks.instructions $(ARGS)

native: $(READY)
	@$(RUN) -m benchmarks.native $(ARGS)

nightly:
	@.ci/nightly

# Only the whole goes into the document: a part of it, or a quick one, is put into build/bench, with a copy of the document.
FIGURES := $(if $(ARGS),build/bench,docs)
bench: $(READY)
	@mkdir -p $(FIGURES)/performance; failed=; \
	[ $(FIGURES) = docs ] || cp docs/performance.md $(FIGURES); \
	while read -r tag path; do \
	    $(MAKE) --no-print-directory figures PYTHON="$$path" || failed+=" $$tag"; \
	done < <($(if $(TAG),echo '$(TAG) $(PYTHON)',.ci/interpreters)); \
	$(RUN) -m benchmarks.report $(FIGURES)/performance.md $(FIGURES)/performance/*.json; \
	[ -z "$$failed" ] || { echo "failed under:$$failed"; exit 1; }

figures: $(VENV)/peers
	@REF_PROXY_BACKEND=$$(cut -d' ' -f1 $(READY)) $(RUN) -m benchmarks.core --json $(FIGURES)/performance/cpython-$(TAG).json $(ARGS)

$(VENV)/peers: $(READY) .ci/peers
	@.ci/peers $(VENV)

clean:
	rm -rf .venv .venv-* build src/*.egg-info src/ref_proxy/_core*.so .*_cache
