# Two commands: `make demo` sets everything up and runs the example, `make test` sets everything up
# and passes the tests. Needed beforehand: Python 3.11 to 3.13, pip and git.

VENV := .venv
PYTHONS := python3.13 python3.12 python3.11 python3

.PHONY: demo test check format lock clean

demo: $(VENV)/ready
	$(VENV)/bin/loom run customer_sentiment

test: $(VENV)/ready
	$(VENV)/bin/python -m pytest -n auto

check: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(VENV)/ready
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# requirements.lock holds every version with its hashes, for pip and uv alike; it is complete, so
# there is nothing to resolve (and pip stumbles over extras when it resolves with hashes).
$(VENV)/ready: requirements.lock pyproject.toml
	@for python in $(PYTHONS); do \
	  if $$python -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	    >/dev/null 2>&1; then break; fi; python=; \
	done; \
	if [ -z "$$python" ]; then echo "no Python 3.11 to 3.13 with venv found (tried: $(PYTHONS))"; exit 2; fi; \
	echo "Setting up $(VENV) with $$($$python --version)"; \
	$$python -m venv --clear $(VENV)
	@echo "Installing the packages of requirements.lock (1.1 GB on disk; 2 to 4 minutes)"
	$(VENV)/bin/python -m pip install --progress-bar off --no-deps --require-hashes -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# After a change of the dependencies in pyproject.toml (uv resolves, for all Pythons at once).
lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	  --generate-hashes --no-header --quiet --output-file requirements.lock

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
