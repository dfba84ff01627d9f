# The same commands for people and for CI. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The version that the training tests run with; on Linux it has a build without CUDA.
TORCH := torch==2.13.0

.DEFAULT_GOAL := help
.PHONY: help demo test check wheel students benchmarks clean

help: ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

$(VENV)/.core: $(BIN)/python setup.cfg
	$(BIN)/pip install --quiet --editable ".[plot]"
	@touch $@

$(VENV)/.all: $(VENV)/.core
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable ".[plot,parquet,training,monitor,test]"
	@touch $@

demo: $(VENV)/.core ## set up, embed a sound file of examples/, draw it
	@mkdir -p .demo
	$(BIN)/listen-embed examples/audio/pump.flac --out .demo/pump.npy --plot .demo/pump.png
	@echo "Wrote .demo/pump.npy and .demo/pump.png: waveform, log-mel, and the embedding over time."

test: $(VENV)/.all ## set up, run all tests
	$(BIN)/python -m pytest -q

check: $(VENV)/.all ## ruff, mypy and the architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

wheel: $(VENV)/.all ## build the wheel into dist/
	$(BIN)/python -m build --wheel

students: $(VENV)/.all ## train the models of weights/ again (hours): make students RECORDINGS="folder ..." ONLY=name
	$(BIN)/python recipes/students.py $(RECORDINGS) $(addprefix --only ,$(ONLY))

benchmarks: $(VENV)/.all ## quality and speed tables: make benchmarks DATA=folder
	$(BIN)/python benchmarks/probe.py $(DATA) $(if $(wildcard training-runs/models),--float training-runs)
	$(BIN)/python benchmarks/speed.py --readme README.md

clean: ## remove everything that make made
	rm -rf $(VENV) .demo build dist *.egg-info
