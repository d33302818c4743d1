# Two commands: `make demo` sets everything up and runs the example, `make test` sets everything up
# and runs the tests. Both need Python 3.11 to 3.13 with venv, pip and git.

VENV := .venv
PYTHONS := python3.13 python3.12 python3.11 python3
PYTEST_ARGS :=
INSTALL := $(VENV)/bin/python -m pip install --progress-bar off --no-deps --require-hashes
COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
  --no-header --quiet

.PHONY: demo test soak check format dist lock clean

demo: $(VENV)/ready
	$(VENV)/bin/loom run customer_sentiment

test: $(VENV)/ready-dev
	.ci/install-postgresql
	.ci/install-bubblewrap
	$(VENV)/bin/python -m pytest -n auto $(PYTEST_ARGS)

# The full form of the long tests: simulations, fuzz, many writers. Takes about half an hour.
soak: $(VENV)/ready-dev
	.ci/install-postgresql
	.ci/install-bubblewrap
	LOOM_TEST_SOAK=1 $(VENV)/bin/python -m pytest -n auto \
	  $$(grep -rlE "^from tests.soak import" tests --include='test_*.py') $(PYTEST_ARGS)

check: $(VENV)/ready-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(VENV)/ready-dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# A wheel and a source distribution in dist/.
dist: $(VENV)/ready
	rm -rf dist
	$(VENV)/bin/hatchling build --directory dist

# The lock files hold every version with its hashes, for pip and uv alike. They are complete, so
# there is nothing to resolve (and pip fails on extras when it resolves with hashes).
$(VENV)/ready: requirements.lock pyproject.toml
	@for python in $(PYTHONS); do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	    >/dev/null 2>&1; then break; fi; python=; \
	done; \
	if [ -z "$$python" ]; then echo "no Python 3.11 to 3.13 with venv found (tried: $(PYTHONS))"; exit 2; fi; \
	echo "Setting up $(VENV) with $$($$python --version)"; \
	$$python -m venv --clear $(VENV)
	@echo "Installing the packages of requirements.lock (1.0 GB on disk; 2 to 4 minutes)"
	$(INSTALL) -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# What the tests and the checks need as well.
$(VENV)/ready-dev: requirements-dev.lock $(VENV)/ready
	@echo "Installing the other packages of requirements-dev.lock (0.1 GB)"
	$(INSTALL) -r requirements-dev.lock
	@touch $@

# Updates the lock files after the dependencies in pyproject.toml change. Needs uv, which resolves
# for all Pythons at once.
lock:
	$(COMPILE) --extra build --output-file requirements.lock
	$(COMPILE) --extra build --extra dev --constraint requirements.lock --output-file requirements-dev.lock

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
