# make demo, make test: each sets up a virtual environment at its first run and nothing at its second.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test test-fast lint wheel model clean

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

# The wheel, in an environment of its own: every command answers, nothing but maseg_nnunet reaches site-packages.
wheel: $(VENV)/.installed-test
	rm -rf build dist .env-wheel
	$(BIN)/python -m build --wheel --outdir dist . > /dev/null
	$(PYTHON) -m venv .env-wheel
	.env-wheel/bin/pip install --quiet dist/*.whl
	$(BIN)/python tests/check_wheel.py dist .env-wheel
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

clean:
	rm -rf $(VENV) .env-wheel build dist *.egg-info
