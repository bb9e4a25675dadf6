# make search   set up, then search:     make search TRIALS=20 ARGS="--data my_images"
# make test     set up, then run the fast tests (make test-all: the slow ones too)
# make check    formatter, linter, types, tests
# make bench    set up, then measure the engine, with data how fast networks train, and with a
#               table the samplers:
#               make bench DATA=data/chestxrays TABLE=nb201_compact.csv.gz ARGS="--jobs 2"

TRIALS ?= 50
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin

# The first interpreter that is new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: search test test-all check bench format clean

search: $(VENV)/.ready
	$(BIN)/python -m nas.search --trials $(TRIALS) $(ARGS)

test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest $(ARGS)

test-all: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -m "" $(ARGS)

check: $(VENV)/.ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

bench: $(VENV)/.ready
	$(BIN)/python -m tests.benchmarks.engine --trials 1000
	$(BIN)/python -m tests.benchmarks.schedulers
	@if test -n "$(DATA)"; then $(BIN)/python -m tests.benchmarks.training --data "$(DATA)"; \
	else echo "training was not measured: give DATA=DIR, with train/<CLASS>/* below it"; fi
	@if test -n "$(MODEL)"; then \
	$(BIN)/python -m tests.benchmarks.serving --data "$(DATA)" --model "$(MODEL)"; \
	else echo "the server was not measured: give MODEL=PATH, a bundle, beside DATA"; fi
	@if test -n "$(TABLE)"; then $(BIN)/python -m tests.benchmarks.nas_bench_201 --table $(TABLE) $(ARGS); \
	else echo "samplers were not measured: give TABLE=PATH, the table of NAS-Bench-201"; fi

format: $(VENV)/.ready-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, but none was found; install one or give PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV)

# A stamp is written only after everything is installed, so an interrupted set-up is taken up again.
$(VENV)/.ready: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.ready-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,efficientnet,dicom,onnx,ray,postgresql]"
	@touch $@ $(VENV)/.ready
