# Everything needs only git, make, bash and a Python 3.12 or newer; .ci/setup.sh installs the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test conformance openapi fuzz audit lint format lock secrets clean

# Fast ones first, so that a mistake shows early.
FIRST := tests/test_architecture.py tests/contract tests/national tests/catalog tests/setup tests/ingest tests/store
TESTS := $(filter $(wildcard $(FIRST)),$(FIRST)) $(filter-out $(FIRST),$(sort $(wildcard tests/test_*.py) $(patsubst %/,%,$(filter-out tests/__pycache__/,$(wildcard tests/*/)))))

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | while IFS=$$'\t' read -r name what; do printf '  make %-12s %s\n' "$$name" "$$what"; done

setup: ## install what the service needs: PostgreSQL with PostGIS, .venv
	@.ci/setup.sh run

demo: ## the demo city, served on http://127.0.0.1:8000 until Ctrl-C
	@.ci/setup.sh run
	@.venv/bin/sdi demo || [ $$? = 130 ]

# One process for each core, and at most four: each starts a PostgreSQL of its own.
test: ## all tests (TESTS=tests/store for one room)
	@.ci/setup.sh dev
	@.venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadscope $(TESTS)

# IUT: the landing page of a service that runs; else a test town is served. ETS: OGC's own suite, which needs IUT and Java.
conformance: ## the standards' abstract tests, with a report in build/conformance (IUT=http://… ETS=….jar)
	@.ci/setup.sh dev
	@.venv/bin/python tests/conformance/report.py $(if $(IUT),--iut $(IUT)) $(if $(ETS),--ets $(ETS))

openapi: ## many requests made from the OpenAPI document (EXAMPLES=200 for each operation)
	@.ci/setup.sh dev
	@SDI_TEST_OPENAPI=$(or $(EXAMPLES),200) .venv/bin/python -m pytest tests/service/wall/test_openapi.py

# A seed that found something finds it again: it is printed, and stands in the name of the file that failed.
fuzz: ## spoiled files and requests for SECONDS=600 each, with bytes that differ each time (SEED=1)
	@.ci/setup.sh dev
	@seed=$(or $(SEED),$$(date +%s)); echo "SEED=$$seed"; \
	SDI_TEST_FUZZ=$(or $(SECONDS),600) SDI_TEST_FUZZ_SEED=$$seed .venv/bin/python -m pytest --hypothesis-seed=$$seed tests/hostile/test_fuzz.py tests/service/test_fuzz.py

# Which versions are known to be vulnerable is told by a database on the network alone; where it is not reached, exit
# code 4 says that nothing was audited. ARGS: for pip-audit, such as another database.
audit: ## the locked dependencies against the database of known vulnerabilities (needs the network)
	@.ci/setup.sh dev
	@.venv/bin/python .ci/audit.py $(ARGS)

lint: ## style and types
	@.ci/setup.sh dev
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

format: ## put the style right
	@.ci/setup.sh dev
	@.venv/bin/ruff check --fix . ; .venv/bin/ruff format .

# The lowest Python that serves resolves, so that the pins install on every later one. Hashes that are known are kept;
# an index that cannot tell them has every file downloaded, which takes minutes.
COMPILE = env -u PIP_FIND_LINKS -u PIP_INDEX_URL -u PIP_EXTRA_INDEX_URL .venv/bin/pip-compile --quiet --generate-hashes \
	--allow-unsafe --strip-extras --no-header --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	--no-emit-options --newline lf --build-deps-for editable $(ARGS) pyproject.toml

lock: ## pin the dependencies anew (ARGS=--upgrade for newer ones)
	@.ci/setup.sh dev
	@.venv/bin/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' || { echo "make lock needs an environment of Python 3.12: make clean; PYTHON=python3.12 make lock"; exit 2; }
	$(COMPILE) -o requirements.lock
	$(COMPILE) --extra dev -c requirements.lock -o requirements-dev.lock

secrets: ## passwords for docker-compose.yml, in .secrets
	@.ci/secrets.sh

clean: ## remove the environment and the caches; the data in .sdi stay
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
