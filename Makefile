# `make demo` and `make test` do their own set-up, in .venv; nothing else is needed than Python >= 3.10.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# A trial uses one thread; this keeps NumPy and torch from starting more in each of several processes.
export OMP_NUM_THREADS := 1

# `make test-packages` has an environment of its own, for packages that are heavy and that nobody needs on a CPU.
PACKAGES := .venv/packages
PACKAGES_READY := $(PACKAGES)/.ready
PACKAGES_PIP := $(PACKAGES)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-packages lint clean

demo: $(READY)
	$(BIN)/pytest --mad-arch=reference_archs.transformer:make_model -n auto

test: lint
	$(BIN)/pytest -n auto --dist worksteal

# Other people's implementations judge ours: their references in PyTorch, and their Triton kernels, interpreted. And the
# trackers in our documentation are asked what they were told.
test-packages: export TRITON_INTERPRET := 1
test-packages: $(PACKAGES_READY)
	$(PACKAGES)/bin/pytest tests/packages -n auto --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# torch first and pinned: a range alone would take the newest build, with several gigabytes of CUDA packages.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check torch -c constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	touch $(READY)

# Those of the last line without their CUDA extensions: that takes no compiler, and their references do not need them.
$(PACKAGES_READY): export MAMBA_SKIP_CUDA_BUILD := TRUE
$(PACKAGES_READY): export MAMBA_FORCE_BUILD := TRUE
$(PACKAGES_READY): export CAUSAL_CONV1D_SKIP_CUDA_BUILD := TRUE
$(PACKAGES_READY): export CAUSAL_CONV1D_FORCE_BUILD := TRUE
$(PACKAGES_READY): export FLASH_ATTENTION_SKIP_CUDA_BUILD := TRUE
$(PACKAGES_READY): export FLASH_ATTENTION_FORCE_BUILD := TRUE
$(PACKAGES_READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PACKAGES)
	$(PACKAGES_PIP) torch
	$(PACKAGES_PIP) -e . hypothesis flash-linear-attention triton setuptools wheel
	$(PACKAGES_PIP) mlflow-skinny sqlalchemy alembic wandb
	$(PACKAGES_PIP) --no-build-isolation --no-deps mamba-ssm causal-conv1d flash-attn
	touch $(PACKAGES_READY)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
