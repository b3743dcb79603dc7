# A fresh machine needs Python >= 3.10, make, gcc and git; everything else comes through pip.
PYTHON ?= python3
VENV ?= .venv
SCAN ?= concerto/assets/sample_room.npz
OUT ?= out
NAME := $(basename $(notdir $(SCAN)))

.PHONY: demo test lint clean

# The main job: a scan in, a picture of its features and the features themselves out.
demo: $(VENV)/.installed
	$(VENV)/bin/concerto pca "$(SCAN)" -o "$(OUT)/$(NAME).png"
	$(VENV)/bin/concerto encode "$(SCAN)" -o "$(OUT)"

# A process for each core, of one thread each.
test: lint
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto

lint: $(VENV)/.installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[test]"
	touch $@

clean:
	rm -rf $(VENV) $(OUT)
