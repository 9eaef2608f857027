# The stable commands. Needs Python 3.11 to 3.14, git and make; everything stays in this folder.
PYTHON ?= python3
PORT ?= 3000
N ?= 300
JOBS ?= auto
BENCH ?= --kill --scale
BIN := .venv/bin
SUPPORTED := import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 14) else \
  "batchinf runs on Python 3.11 to 3.14, and $(PYTHON) is %d.%d. Name another one, for instance: \
  make demo PYTHON=python3.13" % sys.version_info[:2])
# An environment without pip is what Python leaves where Debian's python3-venv was missing.
venv = test -x $(1)/bin/pip || { "$(PYTHON)" -c '$(SUPPORTED)' && "$(PYTHON)" -m venv --clear $(1); }

export DAGSTER_HOME := $(CURDIR)/data/dagster
export VIRTUAL_ENV := $(CURDIR)/.venv
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_CACHE_DIR := 1
export DO_NOT_TRACK := 1

.PHONY: demo test drill chaos check ui bench parity format lock clean

demo: .venv/installed ## a real week of flights, from landed files to published predictions
	@$(BIN)/batchinf demo run

test: .venv/installed ## everything that must hold, on JOBS cores, in minutes
	@$(BIN)/pytest --numprocesses $(JOBS) --dist loadfile

drill: .venv/installed ## the whole year in one range run and its report, held against the raw data
	@$(BIN)/pytest -m drill

chaos: .venv/installed ## N kills at chosen system calls, and what must hold after each
	@BATCHINF_CHAOS_KILLS=$(N) $(BIN)/pytest -s batchinf_assets_tests/resilience/test_crash_matrix.py

check: .venv/installed ## lint, types, layers, declarations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/dg check yaml
	$(BIN)/dg check defs

ui: .venv/installed ## Dagster's UI with its daemon
	@$(BIN)/dg dev --workspace workspace.yaml --host 127.0.0.1 --port $(PORT)

bench: .venv/installed ## measured figures, both sides printed
	@$(BIN)/python -m benchmarks.window_overhead
	@$(BIN)/python -m benchmarks.tree_scoring
	@$(BIN)/python -m benchmarks.validation
	@$(BIN)/python -m benchmarks.evaluation
	@$(BIN)/python -m benchmarks.year_backfill
	@$(BIN)/python -m benchmarks.batch_scoring $(BENCH)

parity: .venv/installed ## 1 M rows: every fast scorer against scikit-learn, real and adversarial
	@$(BIN)/python -m benchmarks.scorer_parity

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## renew the pinned versions from pyproject.toml; needs uv
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command 'make lock' -o requirements-build.lock requirements-build.in
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command 'make lock' --extra dev -c requirements-build.lock \
	  -o requirements.lock pyproject.toml
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command 'make lock' -o requirements-mlflow.lock requirements-mlflow.in
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command 'make lock' -c requirements.lock \
	  -o requirements-rivals.lock requirements-rivals.in

.venv-mlflow/installed: requirements-mlflow.lock ## an MLflow server, for the test that uses one
	@$(call venv,.venv-mlflow)
	@.venv-mlflow/bin/python -m pip install --quiet --require-hashes --no-deps \
	  -r requirements-mlflow.lock
	@touch $@

.venv-rivals/installed: requirements-rivals.lock ## Ray and Spark, for the benchmark beside them
	@$(call venv,.venv-rivals)
	@.venv-rivals/bin/python -m pip install --quiet --require-hashes --no-deps \
	  -r requirements-rivals.lock
	@touch $@

clean: ## forget everything that was landed, scored and logged; keys stay
	rm -rf data/keys/promotions-seen.json data/landing data/lake data/dagster/history data/dagster/schedules data/dagster/storage

.venv/installed: requirements.lock requirements-build.lock pyproject.toml
	@$(call venv,.venv)
	@echo "Installing into .venv; this happens once and takes about a minute."
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements-build.lock
	@$(BIN)/python -m pip install --quiet --require-hashes --no-deps --no-build-isolation \
	  --use-pep517 -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --no-index --editable .
	@touch $@
