# The two commands of the README are `make run` and `make test`; everything installs into .venv through constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= out
# More torch threads than free cores make everything 10 to 50 times slower; tests run one process per core.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM = false
WORKERS ?= 2

.PHONY: run test lint check data bench install picture clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "Installing (a few minutes the first time) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

install: $(STAMP)

## The study's headline on the embedded model: train, measure, decide, write records, build the page that tells it.
run: install
	$(BIN)/idembench run sft-reset dpo-reset dpo-continual --control frozen --trait sycophancy --seeds 0..2 \
		--results $(OUT)/results --store $(OUT)/store
	$(BIN)/idembench verify $(OUT)/results
	$(BIN)/idembench board build $(OUT)/results --out $(OUT)/board

## Everything: unit, end-to-end, browser.
test: install
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not bench"

## Style, types, layers, spelling; half a minute.
lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

## That, and the tests that need no training; minutes.
check: lint
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not slow and not browser and not bench"

## The English pack held against the bar for trait data, with its figures.
data: install
	$(BIN)/idembench trait check tasks/english

bench: install
	$(BIN)/python -m pytest tests/benchmarks -m bench -p no:randomly -p no:xdist --benchmark-columns=median,iqr,rounds

## The README's picture, from the committed records.
picture: install
	cd tests/browser && ../../$(BIN)/python picture.py

clean:
	rm -rf $(OUT) build dist
