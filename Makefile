# Two commands set everything up on a fresh machine: `make run` and `make test`. Python 3.10-3.12 and make are all they need.
PYTHON ?= python3
CACHE := $(or $(LAUNCHER_CACHE_DIR),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/modelarts-launcher)
WHEELS := $(CACHE)/wheels
BIN := .venv/bin
# Tests run as many at once as there are cores, 8 at most for their memory; one more of the quick ones, which wait more than they work.
CORES := $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 8 ? cores : 8)))
PYTEST := $(BIN)/python -m pytest --dist worksteal
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run test test-slow test-radosgw check bench docs lock clean help

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: .venv/run ## set up, and train LeNet-5 on MNIST on this machine
	$(BIN)/python -m launcher submit lenet5

test: .venv/dev ## set up, and run the tests that take seconds
	$(PYTEST) -n $$(($(CORES) + 1)) -m "not slow and not radosgw"

test-slow: .venv/dev ## full training, kills at random moments, package registries
	$(PYTEST) -n $(CORES) -m "slow and not radosgw"

test-radosgw: .venv/dev ## the tests against Ceph's radosgw, which must be installed
	$(PYTEST) -n 2 -m radosgw

check: .venv/dev ## lint, format, types, import rules, Python 3.7 syntax of what travels
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/vermin --quiet --no-tips --target=3.7- --violations storage jobs entrypoints launcher/targets/site
	$(BIN)/python -m pytest -q tests/test_house.py

bench: .venv/dev ## measure speed, as ratios side by side (takes a while)
	$(BIN)/python -m bench

docs: .venv/dev ## write docs/job.schema.json and the help texts inside docs anew
	$(BIN)/python docs/build.py

lock: ## resolve the dependencies anew (needs uv)
	echo setuptools | uv pip compile -q --universal --python-version 3.10 --generate-hashes --no-emit-index-url - -o requirements-build.lock
	uv pip compile -q --universal --python-version 3.10 --generate-hashes --no-emit-index-url --extra train --extra emulator --extra infer pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.10 --generate-hashes --no-emit-index-url --extra train --extra infer --group dev pyproject.toml -o requirements-dev.lock

clean: ## remove what make and runs have made here
	rm -rf .venv .launcher .mypy_cache .ruff_cache .pytest_cache

# Wheels are fetched once, into a folder outside the tree (MindSpore's alone is over 700 MB), with pip as it is configured
# here; every file is checked against the lock's hashes. With the folder full, no network is needed. requirements-build.lock
# is what builds the packages that come as source only (crcmod, which the OBS SDK imports).
.venv/run: requirements.lock
	$(call install,requirements.lock)
	@touch $@

.venv/dev: requirements-dev.lock
	$(call install,requirements-dev.lock)
	@touch .venv/run $@

define install
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --no-index --find-links "$(WHEELS)" --require-hashes -r $(1) 2>/dev/null || { \
	  echo "fetching the packages of $(1) into $(WHEELS) (once)"; \
	  $(BIN)/python -m pip download -q --require-hashes -d "$(WHEELS)" -r requirements-build.lock && \
	  $(BIN)/python -m pip download --require-hashes -d "$(WHEELS)" -r $(1) && \
	  $(BIN)/python -m pip install -q --no-index --find-links "$(WHEELS)" --require-hashes -r $(1); }
endef
