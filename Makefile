# The one list of commands; CI calls the same.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
RUN_ARGS ?=
TEST_ARGS ?=
SOURCES = hyperflow components pipelines compile.py reference.py tests benchmarks examples images docs

.DEFAULT_GOAL := help
.PHONY: help install run test long-test cluster-test check check-style check-types check-layers check-build data compile bench bench-serving lock images push image-test \
	dist dist-test docs docs-test pictures clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

run: $(VENV)/.local data ## Tune, train, serve and test on this machine (RUN_ARGS="--set epochs=5")
	$(BIN)/hyperflow run $(RUN_ARGS)

PYTEST = $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.dev ## Run the tests (TEST_ARGS="-k name")
	$(PYTEST) $(TEST_ARGS)

long-test: $(VENV)/.dev ## Run the tests that take long: whole runs killed at any point, a month of runs
	$(PYTEST) -m long $(TEST_ARGS)

cluster-test: $(VENV)/.dev ## Test against a real API server and the real operators (built once, up to 45 min)
	$(BIN)/python -m tests.cluster.binaries || [ $$? -eq 3 ]
	$(BIN)/pytest -n 2 --dist loadfile -m cluster tests/cluster tests/conformance $(TEST_ARGS)

check: check-style check-types check-layers check-build ## Style, types, layering, and whether build/ and docs/reference are current

check-style: $(VENV)/.dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

check-types: $(VENV)/.dev
	$(BIN)/mypy

check-layers: $(VENV)/.dev
	$(BIN)/lint-imports

check-build: $(VENV)/.dev
	$(BIN)/python compile.py --check
	$(BIN)/python reference.py --check

bench: $(VENV)/.bench data ## Measure all against others, write docs/benchmarks.md (SECTIONS="tune", QUICK=1, 60 min)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m benchmarks $(or $(SECTIONS),all) $(if $(QUICK),--quick) --max-age 12 $(BENCH_ARGS)

bench-serving: $(VENV)/.dev ## Compare the predictor with KServe's own server, with wrk
	PYTHON=$(abspath $(BIN))/python benchmarks/serving/run.sh

dist: $(VENV)/.dev ## Build the wheel and the source distribution into dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .

dist-test: $(VENV)/.dev ## Install the wheel into an empty environment and run there (PyPI, 2 GB, 5 min)
	$(BIN)/pytest -m installed tests/installed $(TEST_ARGS)

compile: $(VENV)/.local ## Write build/*.yaml and docs/reference
	$(BIN)/python compile.py
	$(BIN)/python reference.py

docs: $(VENV)/.dev ## Build the documentation as a site, into site/ (10 s)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-test: $(VENV)/.dev ## Run what the documents say, the notebook too, and build the site (10 min)
	$(BIN)/pytest -n 2 --dist loadfile -m docs tests/docs $(TEST_ARGS)

pictures: $(VENV)/.dev data ## Make the documents' pictures, and the notebook's outputs (Chromium, 5 min)
	$(BIN)/python docs/pictures.py
	$(BIN)/python docs/notebook.py
	HYPERFLOW_SCREENSHOTS=$(abspath docs/images) $(BIN)/pytest -q tests/browser/test_demo_page.py

data: $(VENV)/.local ## Get Fashion-MNIST, from Debian's package where no download is possible
	$(BIN)/python -m hyperflow.datasets

install: $(VENV)/.dev ## Set up .venv with everything

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.local: requirements/local.txt setup.cfg | $(VENV)/bin/python
	$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements/build.txt
	$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements/local.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.local
	$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.bench: requirements/bench.txt $(VENV)/.dev
	$(BIN)/pip install --quiet --no-deps -r requirements/bench.txt
	@touch $@

LOCK = $(BIN)/uv pip compile setup.cfg --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-annotate --no-emit-index-url --override requirements/overrides.txt

lock: $(VENV)/.dev ## Make the requirement locks anew (UPGRADE=--upgrade)
	$(LOCK) $(UPGRADE) --all-extras -o requirements/dev.txt
	$(LOCK) -c requirements/dev.txt --extra local --extra serving --extra training --extra kubeflow -o requirements/local.txt
	$(LOCK) -c requirements/dev.txt --extra kubeflow --excludes requirements/steps-excludes.txt -o requirements/steps.txt
	$(LOCK) -c requirements/dev.txt --extra serving --extra training --excludes requirements/model-excludes.txt -o requirements/model.txt
	$(LOCK) -c requirements/dev.txt --extra serving --excludes requirements/serve-excludes.txt -o requirements/serve.txt
	$(LOCK) requirements/model-cuda.in -c requirements/dev.txt --extra serving --extra training --excludes requirements/model-cuda-excludes.txt -o requirements/model-cuda.txt
	$(LOCK) -c requirements/dev.txt --extra demo -o requirements/demo.txt
	$(subst setup.cfg,requirements/build.in,$(LOCK)) -c requirements/dev.txt -o requirements/build.txt
	$(subst setup.cfg,examples/cloud-data/requirements.in,$(LOCK)) -c requirements/steps.txt --excludes requirements/steps.txt \
		-o examples/cloud-data/requirements.txt

images: ## Build the images (REGISTRY, TAG, BASE_IMAGE, PLATFORMS, CONTAINER_TOOL: docs/images.md)
	images/images build

push: ## Push the images and print their digests (registry login: the builder's own)
	images/images push

image-test: $(VENV)/.dev ## Build the images and test them in containers (CONTAINER_TOOL)
	REGISTRY=localhost TAG=test TARGETS="steps model serve local demo" images/images build
	$(BIN)/pytest -m images tests/images $(TEST_ARGS)

clean: ## Remove what can be made again, but no run and no model
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
