# Verbs for people. `make help` lists them. Everything that is installed or built comes from the lock files.

SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Native builds live outside the clone, so that a second clone of the same sources builds in seconds.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/hanse/cargo-target
JOBS ?= 2

.PHONY: help demo up build test check bench fuzz fuzz-front docs lock clean

help: ## Show this list
	@printf 'hanse: a sovereign cloud-to-edge compute fabric\n\n'
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\nEverything else: docs in README.md, commands in `.venv/bin/hanse --help`.\n'

demo: build ## Start a fabric of six nodes, take the tour, stop everything
	@$(BIN)/hanse demo

up: build ## Keep a fabric running in the foreground; Ctrl-C stops all of it
	@$(BIN)/hanse up

build: $(VENV)/.built ## Install locked dependencies and build the engine

test: build ## Run every test, real nats-server and real engine included
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal
	@cargo test --locked --quiet --release --workspace --exclude hanse-pyext

check: build ## Linters, types, layers, formatting
	@$(BIN)/ruff check src tests benches examples
	@$(BIN)/ruff format --check src tests benches examples
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -n 0 tests/unit/house
	@cargo fmt --all --check
	@cargo clippy --locked --quiet --release --all-targets -- -D warnings

bench: build ## Run the fabric benchmark and print one JSON line
	@$(BIN)/python -m benches.fabric --json

FUZZ_S ?= 300
fuzz-front: ## Send the front what any client might, FUZZ_S=300 seconds long, led by coverage; what breaks it is kept
	@mkdir -p $(CARGO_TARGET_DIR)/fuzz-found
	@RUSTC_WRAPPER=$(CURDIR)/scripts/sancov.sh CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/fuzz \
	  cargo run --locked --quiet --release --package hanse-fuzz --bin front -- \
	  -max_total_time=$(FUZZ_S) -max_len=65536 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
	  -artifact_prefix=crates/engine/tests/corpus/found- $(CARGO_TARGET_DIR)/fuzz-found crates/engine/tests/corpus

fuzz: build ## Fuzz every parser of foreign bytes; FUZZ_SECONDS=60 for each
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'atheris>=3.0,<4'
	@$(BIN)/python tests/fuzz/fuzz.py --seconds $(or $(FUZZ_SECONDS),60)

docs: build ## Generate the reference pages from the code
	@$(BIN)/python -m hanse.app.docs

lock: $(VENV)/.locked ## Write the lock files for what pyproject.toml and Cargo.toml ask; UPGRADE=1 takes the newest
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-header --no-annotate $(if $(UPGRADE),--upgrade) --extra dev \
	  pyproject.toml requirements/build.in -o requirements/lock.txt
	@cargo update --quiet $(if $(UPGRADE),,--workspace)

clean: ## Remove what was built in this clone
	rm -rf $(VENV) build dist src/hanse/_engine*.so

$(VENV)/.tools: scripts/check-tools.sh
	@scripts/check-tools.sh $(PYTHON)
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.locked: $(VENV)/.tools requirements/lock.txt
	@scripts/step.sh --ticks "installing locked Python dependencies" \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/lock.txt
	@touch $@

$(VENV)/.built: $(VENV)/.locked pyproject.toml Cargo.toml Cargo.lock $(shell find crates -name '*.rs' -o -name Cargo.toml)
	@scripts/step.sh "building the engine (release; the first build takes minutes)" \
	  env PIP_QUIET=1 $(BIN)/maturin develop --release --locked
	@touch $@
