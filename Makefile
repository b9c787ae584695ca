# pragmatiq-triton: one target per job; `make help` lists them.
PYTHON ?= python3.11
ARGS ?=
BUILDER := .venv
SERVER := .venv-serve

# The image; docs/operations.md tells what the variables mean. What is empty is left to the Dockerfile.
ENGINE ?= docker
BASE ?= cpu
EXTRAS ?=
REPOSITORY ?=
TEXT_MODEL_FOLDER ?=
TORCH_INDEX ?= $(if $(filter cpu,$(BASE)),https://download.pytorch.org/whl/cpu)
LEFT_TO_DOCKERFILE := CPU_IMAGE GPU_IMAGE TRITON_TAG TEXT_MODEL TEXT_MODEL_REVISION
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION = $(shell git describe --always --abbrev=40 --exclude '*' --dirty 2>/dev/null || echo unknown)
IMAGE ?= pragmatiq-triton:$(VERSION)-$(BASE)$(addprefix -,$(EXTRAS))
BUILD_FLAGS ?=
BUILD_docker := docker build
SIZE_docker := docker image inspect --format '{{.Size}}'
# A Dockerfile's HEALTHCHECK has no place in the OCI format.
BUILD_buildah := buildah bud --isolation chroot --format docker --layers
SIZE_buildah := buildah images --noheading --format '{{.Size}}'

# Published on this machine's loopback alone, which the container cannot know.
RUN_docker = docker run --rm --env PRAGMATIQ_GATEWAY_AUTH_ALLOW_ANONYMOUS=1 --env PRAGMATIQ_GATEWAY_TLS_ALLOW_PLAINTEXT=1 \
	--read-only --tmpfs /tmp --shm-size 1g --cap-drop ALL --security-opt no-new-privileges \
	--stop-timeout 45 $(foreach port,8000 8001 8002,--publish 127.0.0.1:$(port):$(port)) \
	$(if $(REPOSITORY),--volume $(abspath $(REPOSITORY)):/models:ro)
# Without an engine: as root, on this machine's network.
RUN_buildah = $(BUILDER)/bin/python -m bench.image.container $(if $(REPOSITORY),--repository $(REPOSITORY))
RUN_NEEDS_buildah := setup

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-builder test-rest test-slow lint bench bench-ingest bench-predict bench-training bench-image micro tutorials quality lock image run-image clean

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

PYTEST = $(BUILDER)/bin/python -m pytest -m "not slow"

# Two halves side by side, a core and a thread each; what ARGS name runs in one piece.
test: setup lint ## Linters, type checker, import rules and all tests; ARGS go to pytest
	$(if $(ARGS),$(PYTEST) $(ARGS),OMP_NUM_THREADS=1 $(MAKE) --no-print-directory -j2 --output-sync=target test-builder test-rest)

test-builder:
	$(PYTEST) tests/builder

test-rest:
	$(PYTEST) tests --ignore tests/builder

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

bench-ingest: setup ## Speed and memory of ingest, beside the lines of pandas that do the same; ARGS="--help" lists the options
	$(BUILDER)/bin/python -m bench.ingest $(ARGS)

bench-predict: setup ## Speed of predict, beside a warm server asked for the same cold book; ARGS="--help" lists the options
	$(BUILDER)/bin/python -m bench.predict $(ARGS)

tutorials: setup ## Run the notebooks of docs/tutorials, and write each as a page with its output
	$(BUILDER)/bin/python -m examples.tutorials

micro: setup ## Micro-benchmarks of tokenizer, fingerprint, gather and graphs; ARGS go to pytest
	$(BUILDER)/bin/python -m pytest bench/micro --benchmark-only --benchmark-columns=min,median,rounds \
		--benchmark-max-time=0.5 $(ARGS)

bench-image: setup ## Size, time to ready and idle memory of the cpu images, built by buildah; ARGS="--help" lists the options
	$(BUILDER)/bin/python -m bench.image $(ARGS)

quality: setup ## How good the scores are, by text variant, task and method; ARGS="--help" lists the options
	$(BUILDER)/bin/python -m bench.quality $(ARGS)

# Debian's Python is 3.11, that of NVIDIA's image 3.12. What does not suit Triton 2.51 is in constraints-cpu.txt.
LOCK = $(BUILDER)/bin/uv pip compile --quiet --generate-hashes --python-platform x86_64-manylinux_2_35 \
	--custom-compile-command "make lock" $(ARGS)
LOCK_SERVER = $(LOCK) pyproject.toml --extra serve --extra gateway --extra tracing
LOCK_CPU = $(LOCK_SERVER) --python-version 3.11 --constraint docker/constraints-cpu.txt
LOCK_GPU = $(LOCK_SERVER) --python-version 3.12

lock: setup ## Pin the image's Python packages by version and hash (docker/lock-*.txt); ARGS=--upgrade takes newer ones
	$(LOCK_CPU) --output-file docker/lock-cpu.txt
	$(LOCK_CPU) --extra embedder --config-file docker/lock-without-cuda.toml --no-emit-package torch \
		--output-file docker/lock-cpu-nemotron.txt
	$(LOCK_GPU) --output-file docker/lock-gpu.txt
	$(LOCK_GPU) --extra embedder --output-file docker/lock-gpu-nemotron.txt
	echo nvidia-pytriton==0.7.0 | $(LOCK) - --python-version 3.11 --no-deps --output-file docker/lock-tritonserver.txt
	echo cyclonedx-bom==7.5.0 | $(LOCK) - --python-version 3.11 --output-file docker/lock-sbom.txt
	echo "hatchling>=1.27" | $(LOCK) - --python-version 3.11 --output-file docker/lock-build.txt

image: ## Build the server image and print its size: BASE=cpu|gpu EXTRAS=nemotron ENGINE=docker|buildah REPOSITORY=DIR
	$(or $(BUILD_$(ENGINE)),$(error ENGINE: expected docker or buildah, got $(ENGINE))) --file docker/Dockerfile --tag $(IMAGE) \
		--build-arg BASE=$(BASE) --build-arg PRAGMATIQ_TRITON_EXTRAS=$(EXTRAS) \
		--build-arg TORCH_INDEX=$(TORCH_INDEX) \
		$(foreach name,$(LEFT_TO_DOCKERFILE),$(if $($(name)),--build-arg $(name)=$($(name)))) \
		--label org.opencontainers.image.version=$(VERSION) --label org.opencontainers.image.revision=$(REVISION) \
		--label pragmatiq-triton.base=$(BASE) --label pragmatiq-triton.extras=$(EXTRAS) \
		$(if $(TEXT_MODEL_FOLDER),--build-context text-model=$(TEXT_MODEL_FOLDER)) \
		$(if $(REPOSITORY),--build-context repository=$(REPOSITORY)) $(BUILD_FLAGS) .
	@echo "$(IMAGE): $$($(SIZE_$(ENGINE)) $(IMAGE))"

run-image: $(RUN_NEEDS_$(ENGINE)) ## Run the image as it is meant to be run; REPOSITORY=DIR is mounted, else the baked one is served
	$(RUN_$(ENGINE)) $(RUN_FLAGS) $(IMAGE) $(ARGS)

clean: ## Remove environments and caches
	rm -rf $(BUILDER) $(SERVER) .bench quality .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
