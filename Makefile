# Work on this project: `make` lists the targets. They need Python 3.11 to 3.14 and make, nothing else.
# Targets install what they need into .venv from the hashed locks in requirements/, once.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# What CI runs after installing, in this order; `.ci/run` asks for the list with `make print-checks`.
CHECKS := lint types imports test wheel-test

# The reference pages that modules write from the tables in code.
REFERENCE_WRITERS := schemas.reference processors.reference

# Data sets for the tests that use real data stand in a folder next to the checkout.
ifneq ($(wildcard ../shared/data),)
export OPTIN_TEST_DATA ?= $(CURDIR)/../shared/data
endif

# The first Python on the path that the locks are made for; `make setup PYTHON=...` names another.
SUITABLE = import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
  "$$name" -c '$(SUITABLE)' >/dev/null 2>&1 && { echo "$$name"; break; }; done)

# -- For everybody ---------------------------------------------------------------------------------

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: .venv/.runtime .venv/.editable ## Install into .venv what running takes; `.venv/bin/optin` is the command

.PHONY: demo
demo: setup ## Run a small shop week through the whole system on this machine
	.venv/bin/optin demo $(ARGS)

# -- For people who change the code ----------------------------------------------------------------

.PHONY: setup-dev
setup-dev: .venv/.dev .venv/.editable ## Install into .venv what testing and checking take, too

.PHONY: test
test: setup-dev ## Run all tests in their short form, on an embedded stack (ARGS="-k consent" picks some)
	.venv/bin/pytest $(ARGS)

.PHONY: test-all
test-all: setup-dev ## Run all tests in their long form
	OPTIN_TEST_LONG=1 .venv/bin/pytest $(ARGS)

.PHONY: lint
lint: setup-dev ## Check rules of style and the formatting
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

.PHONY: format
format: setup-dev ## Format, and repair what can be repaired by rule
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

.PHONY: types
types: setup-dev ## Check types, tests included
	.venv/bin/mypy

.PHONY: imports
imports: setup-dev ## Check which package may import which
	.venv/bin/lint-imports --no-logo

.PHONY: wheel-test
wheel-test: setup-dev ## Build the wheel and use it in an empty environment, away from this folder
	@set -eu; here=$$(pwd); folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; trap 'exit 130' INT TERM; \
	.venv/bin/python -m build --wheel --no-isolation --outdir "$$folder/dist" .; \
	.venv/bin/python -m venv "$$folder/venv"; \
	for lock in build runtime; do \
	  echo "Installing requirements/$$lock.txt into an empty environment"; \
	  "$$folder/venv/bin/python" $(PIP_INSTALL) --quiet --require-hashes -r "requirements/$$lock.txt"; \
	done; \
	"$$folder/venv/bin/python" $(PIP_INSTALL) --quiet "$$folder"/dist/*.whl; \
	cd "$$folder"; unset PYTHONPATH; export OPTIN_DATA="$$folder/data"; \
	venv/bin/python -I "$$here/tests/architecture/installed_names.py"; \
	venv/bin/optin --help; \
	venv/bin/optin demo

.PHONY: check
check: $(CHECKS) ## Run exactly what CI runs

.PHONY: print-checks
print-checks:
	@echo $(CHECKS)

.PHONY: chaos-short
chaos-short: setup-dev ## Kill and freeze workers and Kafka nodes under load, a few times; part of `make test`
	.venv/bin/pytest tests/integration/test_crashes.py $(ARGS)

.PHONY: chaos
chaos: setup-dev ## The same for half an hour (CHAOS_SEED, CHAOS_FAULTS, CHAOS_MINUTES, CHAOS_RATE)
	.venv/bin/python -m tests.chaos

.PHONY: race
race: setup-dev ## Race 20,000 pushes with revocations, under kills, freezes and a provider's faults: ten minutes
	OPTIN_TEST_LONG=1 .venv/bin/pytest -s tests/integration/test_race.py $(ARGS)

.PHONY: sim
sim: setup-dev ## Simulate the roles with faults in virtual time: 1,000 seeds (SEED=7 runs one)
	.venv/bin/python -m tests.simulation $(or $(SEED),--seeds 1000) $(ARGS)

.PHONY: outages
outages: setup-dev ## Simulate providers that are away for five hours: who leaves when, and who not
	.venv/bin/python -m tests.simulation.outages

.PHONY: devices
devices: setup-dev ## Live 100,000 lives of devices: no push after an acknowledged no
	.venv/bin/python -m tests.support.device_lives $(ARGS)

.PHONY: fuzz
fuzz: setup-dev ## Make 100,000 templates and rules with odd values: none may raise, or work without bound
	.venv/bin/python -m tests.support.rule_fuzzer $(ARGS)

.PHONY: crash-points
crash-points: setup-dev ## Kill a worker at every place where it can stand still, before it and after it
	OPTIN_TEST_LONG=1 .venv/bin/pytest -s tests/integration/test_crash_points.py $(ARGS)

.PHONY: bench
bench: setup-dev ## Measure us beside stock Faust and a plain loop (ARGS="consent raw_c" picks some)
	.venv/bin/optin bench $(ARGS)

.PHONY: bench-push
bench-push: setup-dev ## Measure what a push costs, by itself and with all bookkeeping (ARGS=--help tells what)
	.venv/bin/python -m tests.providers.cost $(ARGS)

.PHONY: flame
flame: setup-dev ## Draw where the consent role's time goes: docs/flame-consent.svg
	mkdir -p build
	.venv/bin/python -m processors.benchmarks.flame docs/flame-consent.svg build/costs.json

.PHONY: bench-docs
bench-docs: flame ## Measure everything and write docs/benchmarks.md (a quiet machine, please)
	.venv/bin/optin bench --json $(ARGS) > build/bench.json
	.venv/bin/python -m processors.benchmarks.page build/bench.json build/costs.json

.PHONY: docs
docs: setup ## Write the reference pages again from the tables in code
	for writer in $(REFERENCE_WRITERS); do .venv/bin/python -m "$$writer" || exit 1; done

.PHONY: clean
clean: ## Remove environments, caches and builds; data stays
	rm -rf .venv .lock-venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find schemas ledger connectors processors tests -name __pycache__ -type d -prune -exec rm -rf {} +

# -- Locks -----------------------------------------------------------------------------------------

UV_VERSION := 0.13.9
COMPILE = .lock-venv/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --no-build \
  --generate-hashes --no-annotate --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)

# A dependency of web-push has no wheel: it is pure Python and built where it is installed.
PROVIDERS := --extra apns --extra fcm --extra web-push
WITH_PROVIDERS = $(subst --no-build,$(PROVIDERS),$(COMPILE))
WITH_ALL = $(WITH_PROVIDERS) --extra local

.PHONY: lock
lock: ## Resolve the dependencies again into requirements/ (UPGRADE=1 takes newer versions)
	"$(PYTHON)" -m venv .lock-venv
	.lock-venv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(WITH_ALL) --output-file requirements/runtime.txt
	$(WITH_PROVIDERS) --output-file requirements/production.txt --constraint requirements/runtime.txt
	$(WITH_ALL) --output-file requirements/dev.txt --group dev --constraint requirements/runtime.txt
	$(subst pip compile pyproject.toml,pip compile,$(COMPILE)) --output-file requirements/build.txt \
	  --group build --constraint requirements/dev.txt

# -- The environment -------------------------------------------------------------------------------

# The locks are complete and every file is hashed, so pip has nothing to resolve. A package without a
# wheel for this machine is built with the tools of requirements/build.txt, never with fetched ones.
PIP_INSTALL := -m pip install --disable-pip-version-check --no-input --no-deps --no-build-isolation

# $(call install_lock,NAME): pip's own lines reduced to the large downloads and the last step. Its exit
# status is kept in a file because plain sh forgets it in a pipe.
define install_lock
@rm -f .venv/.failed; \
{ .venv/bin/python $(PIP_INSTALL) --require-hashes -r requirements/$(1).txt || touch .venv/.failed; } \
  | { grep --line-buffered -o -E 'Downloading [^ ]+ \([0-9.]+ MB\)|^Installing collected packages' || true; }; \
test ! -e .venv/.failed
endef

# Console scripts and the editable install name this folder, so a moved or copied .venv is made anew.
ifneq ($(shell cat .venv/.made-for 2>/dev/null),$(CURDIR))
.PHONY: .venv/.made-for
endif
.venv/.made-for:
	@"$(PYTHON)" -c '$(SUITABLE)' 2>/dev/null || { \
	  echo "This project needs Python 3.11 to 3.14; '$(or $(PYTHON),python3)' is not one of them:" >&2; \
	  "$(or $(PYTHON),python3)" --version >&2; \
	  echo "Install one, then name it: make setup PYTHON=/path/to/python3.12" >&2; exit 1; }
	"$(PYTHON)" -m venv $(if $(wildcard .venv/.made-for),--clear) .venv
	@printf '%s\n' '$(CURDIR)' > $@

.venv/.build: .venv/.made-for requirements/build.txt
	@echo "Installing requirements/build.txt"
	$(call install_lock,build)
	@touch $@

.venv/.runtime: .venv/.build requirements/runtime.txt
	@echo "Installing requirements/runtime.txt; the first time this takes a minute and downloads some 350 MB"
	$(call install_lock,runtime)
	@touch $@

.venv/.dev: .venv/.build requirements/dev.txt
	@echo "Installing requirements/dev.txt; the first time this takes a minute and downloads some 390 MB"
	$(call install_lock,dev)
	@touch .venv/.runtime $@

.venv/.editable: .venv/.build pyproject.toml
	@echo "Installing this folder, editable"
	@.venv/bin/python $(PIP_INSTALL) --quiet --editable .
	@touch $@
