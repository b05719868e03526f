# `make demo` and `make test` do their own set-up, in .venv; nothing else is needed than Python >= 3.10.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# A trial uses one thread; this keeps NumPy and torch from starting more in each of several processes.
export OMP_NUM_THREADS := 1

.PHONY: demo test lint clean

demo: $(READY)
	$(BIN)/pytest --mad-arch=reference_archs.transformer:make_model -n auto

test: lint
	$(BIN)/pytest -n auto --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# torch first and pinned: a range alone would take the newest build, with several gigabytes of CUDA packages.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check torch -c constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	touch $(READY)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
