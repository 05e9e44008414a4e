# make demo, make test: each sets up a virtual environment at its first run and nothing at its second.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test test-fast lint wheel docs model clean

demo: $(VENV)/.installed
	$(BIN)/maseg demo

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

test-fast: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "not slow"

# mypy and import-linter see the package as it is installed: the sibling folders are mapped into it by setup.cfg.
lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build dist
	$(BIN)/python -m build --wheel --outdir dist . > /dev/null
	$(BIN)/python -m zipfile -e dist/*.whl build/installed
	cd build/installed && $(abspath $(BIN))/python -m mypy --config-file ../../pyproject.toml -p maseg_nnunet
	cd build/installed && $(abspath $(BIN))/lint-imports ../../pyproject.toml
	$(BIN)/python tests/check_types.py $(BIN)/python

# The wheel, in an environment of its own: every command answers, nothing but maseg_nnunet reaches site-packages.
wheel: $(VENV)/.installed-test
	rm -rf build dist .env-wheel
	$(BIN)/python -m build --wheel --outdir dist . > /dev/null
	$(PYTHON) -m venv .env-wheel
	.env-wheel/bin/pip install --quiet dist/*.whl
	$(BIN)/python tests/check_wheel.py dist .env-wheel
	$(BIN)/python tests/check_types.py .env-wheel/bin/python
	rm -rf .env-wheel

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or later is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.cfg pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.installed-test: setup.cfg pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --editable ".[test]"
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: setup.cfg pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --editable ".[docs]"
	touch $@ $(VENV)/.installed

# The documentation site, in build/site. Strict: a broken link or a missing name fails.
docs: $(VENV)/.installed-docs
	$(BIN)/python -m mkdocs build --strict --quiet

# The packaged model, from images and masks in DATA (mini_mias, mini_mias_masks, inbreast with masks). Hours on a CPU; run
# again it goes on where it was cut off, and trains nothing where nnunet/ holds a finished training. DEVICE=cuda where
# there is a GPU.
DATA ?= data
DEVICE ?= cpu
TRAINED = nnunet/nnUNet_results/Dataset500_Maseg/MasegTrainerVaried__maseg_lite__2d
PACKAGED = maseg_nnunet/models/maseg_lite

model: $(VENV)/.installed
	set -e; unset nnUNet_raw nnUNet_preprocessed nnUNet_results; eval "$$($(BIN)/maseg env --base nnunet)"; mkdir -p nnunet/nnUNet_raw; \
	$(BIN)/convert_vendor --name mini_mias --input $(DATA)/mini_mias --masks $(DATA)/mini_mias_masks --trim-masks; \
	$(BIN)/convert_vendor --name inbreast --input $(DATA)/inbreast --masks $(DATA)/inbreast/masks --trim-masks; \
	$(BIN)/maseg combine -d 500 505 506; \
	$(BIN)/maseg plan -d 500 --plans maseg_lite; \
	$(BIN)/nnUNetv2_train 500 2d 0 -p maseg_lite -tr MasegTrainerVaried -device $(DEVICE) --c; \
	$(BIN)/maseg package $(TRAINED) -o $(PACKAGED); \
	$(BIN)/python benchmarks/accuracy.py $(PACKAGED) -d 505 -d 506 -o nnunet/accuracy

clean:
	rm -rf $(VENV) .env-wheel build dist *.egg-info
