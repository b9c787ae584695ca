# pragmatiq-triton: one target per job; `make help` lists them.
PYTHON ?= python3.11
ARGS ?=
BUILDER := .venv
SERVER := .venv-serve

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow lint bench bench-training micro quality clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(BUILDER)/.installed $(SERVER)/.installed ## Make .venv (builder, CLI, tests) and .venv-serve (the Triton server)

$(BUILDER)/.installed: pyproject.toml
	$(PYTHON) -m venv $(BUILDER)
	$(BUILDER)/bin/pip install -q -e ".[dev]"
	@touch $@

# The server's wheel insists on numpy<2, so it cannot share the builder's environment.
$(SERVER)/.installed: pyproject.toml
	$(PYTHON) -m venv $(SERVER)
	$(SERVER)/bin/pip install -q -e ".[serve,embedded,embedder]"
	@touch $@

demo: setup ## Train tiny on real payments, export, serve, score over gRPC and HTTP; ARGS="--keep" keeps the work
	$(BUILDER)/bin/python examples/demo.py $(ARGS)

test: setup lint ## Linters, type checker, import rules and all tests; ARGS go to pytest
	$(BUILDER)/bin/python -m pytest -m "not slow" $(ARGS)

test-slow: setup ## The tests that `make test` leaves out
	$(BUILDER)/bin/python -m pytest -m slow $(ARGS)

lint: setup ## ruff, mypy and import-linter
	$(BUILDER)/bin/ruff check .
	$(BUILDER)/bin/ruff format --check .
	$(BUILDER)/bin/mypy
	$(BUILDER)/bin/lint-imports

bench: setup ## Serving speed; ARGS="--vs-upstream" adds the upstream toolkit, side by side, ARGS="--help" lists more
	$(BUILDER)/bin/python -m bench.serving $(ARGS)

bench-training: setup ## Tokenizing and pre-training speed; ARGS="--vs-upstream" adds the upstream toolkit, side by side
	$(BUILDER)/bin/python bench/training.py $(ARGS)

micro: setup ## Micro-benchmarks of tokenizer, fingerprint, gather and graphs; ARGS go to pytest
	$(BUILDER)/bin/python -m pytest bench/micro --benchmark-only --benchmark-columns=min,median,rounds \
		--benchmark-max-time=0.5 $(ARGS)

quality: setup ## How good the scores are, by text variant, task and method; ARGS="--help" lists the options
	$(BUILDER)/bin/python -m bench.quality $(ARGS)

clean: ## Remove environments and caches
	rm -rf $(BUILDER) $(SERVER) .bench quality .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
