# `make help` is the developer manual in short; CONTRIBUTING.md is the long form.
# Everything a target needs it sets up itself, into .venv and .cache beside this file.

PYTHON ?= python3
PORT   ?= 8080
VENV   := .venv
BIN    := $(VENV)/bin
NODE_PROJECT := tests/sdk/node
# Environments of clients that are tried against the gateway, each with its pins in tests/sdk/python.
CLIENTS := $(patsubst %,.cache/clients/%/.ready,frameworks legacy)
# All run side by side; those of servers, clients and whole processes a file at a time, since the
# tests of a file share what it starts.
PURE   := tests/dsl tests/cli tests/docs
BESIDE := $(PURE) tests/engine tests/adapters tests/wiring tests/conformance
# Half as many again as there are cores: tests of servers wait for half of their time.
HANDS = $(shell $(BIN)/python -c 'import os; n = os.cpu_count() or 1; print(n + (n + 1) // 2)')
# Set, it would have each of some hundred processes compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo run check test proof bench soak chaos money savings docs prices format pins clean

help:            ## this list
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.run ## the whole thing on embedded defaults: gateway, simulated providers, a policy (PORT=8080)
	$(BIN)/turnout demo --port $(PORT)

run: $(VENV)/.run ## the gateway on routing.yml (set TURNOUT_POLICY for another file)
	$(BIN)/turnout serve

check: $(VENV)/.dev ## format, lint, types, imports, generated pages, the price list, example policies
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check
	$(BIN)/python deploy/make_prices.py --check
	$(BIN)/policy lint policies/*.yml policies/complete/routing.yml
	$(BIN)/policy test policies/*.yml policies/complete/routing.yml
	$(BIN)/policy fmt --check $(filter-out policies/first.yml,$(wildcard policies/*.yml policies/*/*.yml))

test: check $(VENV)/.node $(CLIENTS) ## everything, with counts that fit 20 minutes
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -n auto $(BESIDE)
	$(BIN)/coverage run -m pytest -q -n $(HANDS) --dist loadfile $(addprefix --ignore=,$(BESIDE))
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --skip-covered --skip-empty --sort=cover
	$(BIN)/python tests/coverage_floors.py

proof: check $(VENV)/.node $(CLIENTS) ## the full figures: many more examples, 200 000 mutated policies, how long proofs take, the soak, chaos, money, the cache
	TURNOUT_EXAMPLES=5000 TURNOUT_MUTATIONS=200000 $(BIN)/python -m pytest -q -n auto $(PURE)
	TURNOUT_CANARIES=whole $(BIN)/python -m pytest -q -n auto --dist loadfile $(addprefix --ignore=,$(PURE))
	$(BIN)/python -m benchmarks.proofs --check
	$(BIN)/python -m benchmarks.soak --requests 20000
	$(BIN)/python -m benchmarks.chaos
	$(BIN)/python -m benchmarks.money
	$(BIN)/python -m benchmarks.cache_savings

soak: $(VENV)/.dev ## 20 000 requests, half streamed, a tenth cut off
	$(BIN)/python -m benchmarks.soak --requests 20000

chaos: $(VENV)/.dev ## faults, kills, reloads and signals under load, with their bounds: about 15 minutes
	$(BIN)/python -m benchmarks.chaos

money: $(VENV)/.dev ## budgets and rates under bursts, crashes and load, with their bounds: about 40 minutes
	$(BIN)/python -m benchmarks.money

savings: $(VENV)/.dev ## the cache: a thousand calls, bursts, broken answers, hits per second: about 15 minutes
	$(BIN)/python -m benchmarks.cache_savings

bench: $(VENV)/.dev ## the gateway's CPU time per request by stage, the time of a decision and of proofs
	$(BIN)/python -m benchmarks.gateway
	$(BIN)/python -m benchmarks.decision
	$(BIN)/python -m benchmarks.proofs

docs: $(VENV)/.dev ## the pages that are made from tables in the code
	$(BIN)/python docs/generate.py

prices: $(VENV)/.dev ## the price list that the package carries, from the installed genai-prices
	$(BIN)/python deploy/make_prices.py

format: $(VENV)/.dev ## put the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

pins: $(VENV)/.dev ## resolve the pinned requirements anew
	$(BIN)/pip install -q pip-tools
	deploy/pin-requirements $(BIN)

clean:           ## remove what the targets made
	rm -rf $(VENV) .cache build dist *.egg-info $(NODE_PROJECT)/node_modules

# --- set-up ---------------------------------------------------------------------------------------

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "turnout needs Python 3.11 or newer; point PYTHON at one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || deploy/system-packages python3-venv
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.run: $(VENV)/.venv requirements.txt requirements-prove.txt pyproject.toml
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.txt -r requirements-prove.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
	touch $@

$(VENV)/.node: $(VENV)/.dev $(NODE_PROJECT)/package.json
	@for tool in curl openssl redis-server; do command -v $$tool >/dev/null || deploy/system-packages $$tool || exit 1; done
	@command -v node >/dev/null && command -v npm >/dev/null || deploy/system-packages nodejs npm
	cd $(NODE_PROJECT) && npm install --silent --no-audit --no-fund --no-package-lock
	touch $@

.cache/clients/%/.ready: tests/sdk/python/%.txt $(VENV)/.venv
	rm -rf $(@D)
	$(BIN)/python -m venv --without-pip $(@D)
	$(BIN)/pip --python $(@D) install -q --disable-pip-version-check --no-compile --require-hashes -r $<
	touch $@
