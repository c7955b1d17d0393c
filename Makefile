# Andante's make targets. `make help` lists them; each folder's targets live in hack/make/*.mk.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export ANDANTE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/andante
export PATH := $(CURDIR)/.venv/bin:$(PATH)
VENV_STAMP := .venv/.andante-synced
UV_COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header

.PHONY: help setup lock clean
help: ## list the targets
	@grep -hE '^[a-zA-Z0-9_-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-20s %s\n", $$1, $$2}'

setup: $(VENV_STAMP) ## Python environment in .venv (everything but the engine)

$(VENV_STAMP): pyproject.toml requirements.lock
	hack/setup.sh
	@touch $@

lock: ## re-resolve the lock files from pyproject.toml (the operator image's and the estimator's within the first)
	$(UV_COMPILE) --extra operator --extra cli --group dev pyproject.toml -o requirements.lock
	$(UV_COMPILE) --extra operator --constraint requirements.lock pyproject.toml -o operator/requirements.lock
	$(UV_COMPILE) --extra estimate --constraint requirements.lock pyproject.toml -o requirements-estimate.lock

clean: ## remove what a build leaves in the tree (caches outside it stay)
	rm -rf .venv dist build out report.html

include $(wildcard hack/make/*.mk)
