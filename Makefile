# The same commands for people and for CI. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The version that the training tests run with; on Linux it has a build without CUDA.
TORCH := torch==2.13.0
# Validators of other projects, whose old pins and TensorFlow their checks do not need.
VALIDATORS := hearvalidator==2021.0.6 xares==0.1.3

# What needs nothing but the core, golden vectors first.
LEAN_TESTS := $(addprefix tests/test_,golden.py framing.py stream.py runtime.py registry.py spec.py)

.DEFAULT_GOAL := help
.PHONY: help demo test check docs fuzz lean flower wheel students benchmarks clean

help: ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

$(VENV)/.core: $(BIN)/python setup.cfg
	$(BIN)/pip install --quiet --editable ".[plot]"
	@touch $@

$(VENV)/.all: $(VENV)/.core
	$(BIN)/pip install --quiet $(TORCH) --editable ".[plot,parquet,training,monitor,fleet,index,bulk,ray,dask,onnx,sklearn,test]"
	$(BIN)/pip install --quiet --no-deps --ignore-requires-python $(VALIDATORS)
	@touch $@

demo: $(VENV)/.core ## set up, embed a sound file of examples/, draw it
	@mkdir -p .demo
	$(BIN)/listen-embed examples/audio/pump.flac --out .demo/pump.npy --plot .demo/pump.png
	@echo "Wrote .demo/pump.npy and .demo/pump.png: waveform, log-mel, and the embedding over time."

# Flower pins what it needs tightly, so it has an environment of its own.
.flower/.all: setup.cfg
	$(PYTHON) -m venv .flower
	.flower/bin/pip install --quiet --editable ".[fleet,flower]"
	@touch $@

flower: $(VENV)/.all .flower/.all ## install Flower into .flower/, hold rounds over its programs
	$(BIN)/python -m pytest -q tests/fleet/learning/test_flower.py

test: $(VENV)/.all ## set up, run all tests
	$(BIN)/python -m pytest -q

check: $(VENV)/.all ## ruff, mypy and the architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.core ## build the API reference into docs/_build/
	$(BIN)/pip install --quiet --editable ".[docs]"
	$(BIN)/python -W error::UserWarning -m sphinx -W --keep-going -q docs docs/_build

fuzz: $(VENV)/.all ## fuzz all that reads outside bytes, until stopped: make fuzz RUNS=3000
	$(BIN)/pip install --quiet --editable ".[fuzz]"
	$(BIN)/python -m fuzz $(if $(RUNS),--runs $(RUNS))

lean: ## install without numba into .lean/, weigh it, run the core's tests: make lean PYTHON=python3.13
	rm -rf .lean
	$(PYTHON) -m venv .lean
	.lean/bin/pip install --quiet --requirement requirements-lean.txt
	.lean/bin/pip install --quiet --no-deps --editable .
	du --summarize --block-size=MB --exclude=pip --exclude='pip-*' --exclude='setuptools*' .lean/lib | tee .lean/size
	test $$(sed 's/MB.*//' .lean/size) -le 190
	.lean/bin/pip install --quiet pytest hypothesis
	.lean/bin/python -m pytest -q $(LEAN_TESTS)

wheel: $(VENV)/.all ## build the wheel into dist/
	$(BIN)/python -m build --wheel

students: $(VENV)/.all ## train the models of weights/ again (hours): make students RECORDINGS="folder ..." ONLY=name
	$(BIN)/python recipes/students.py $(RECORDINGS) $(addprefix --only ,$(ONLY))

benchmarks: $(VENV)/.all ## quality and speed tables: make benchmarks DATA=folder
	$(BIN)/python benchmarks/probe.py $(DATA) $(if $(wildcard training-runs/models),--float training-runs)
	$(BIN)/python benchmarks/speed.py --readme README.md

clean: ## remove everything that make made
	rm -rf $(VENV) .td-schema .demo .fuzz .lean .flower docs/_build build dist *.egg-info
