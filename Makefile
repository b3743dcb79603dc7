# A fresh machine needs Python >= 3.10, make, gcc and git; everything else comes through pip.
PYTHON ?= python3
VENV ?= .venv
SCAN ?= concerto/assets/sample_room.npz
OUT ?= out
NAME := $(basename $(notdir $(SCAN)))

.PHONY: demo test lint table tiny clean

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

# What the packaged weights know of rooms, made on the spot, and of the Object Segmentation Database
# where it is at hand: docs/tiny.md.
table: $(PROBED)
	$(RUN) -m benchmarks.probing $(PROBED_ON) --joint concerto-tiny --alone benchmarks/probing/alone \
	    --output $(OUT)/probing/shipped.json

# concerto-tiny from nothing: rooms, the encoder, one without images beside it, and the table. Each
# training goes on where it was stopped.
tiny: $(PROBED) $(ROOMS)
	$(RUN) -m concerto.training.pretrain $(TINY) --output $(OUT)/tiny/joint $(JOINT)
	$(RUN) -m concerto.training.pretrain $(TINY) --output $(OUT)/tiny/alone $(ALONE)
	$(RUN) -m concerto.training.export $(OUT)/tiny/joint $(OUT)/tiny/joint/model --license apache-2.0
	$(RUN) -m concerto.training.export $(OUT)/tiny/alone $(OUT)/tiny/alone/model --license apache-2.0
	$(RUN) -m benchmarks.probing $(PROBED_ON) --joint $(OUT)/tiny/joint/model \
	    --alone $(OUT)/tiny/alone/model --output $(OUT)/probing/trained.json

$(ROOMS): | $(VENV)/.installed-train
	$(PREPARE_ROOMS) $(@D) --scenes 220

$(OUT)/probing/rooms/README.md: | $(VENV)/.installed-train
	$(PREPARE_ROOMS) $(@D) --first 100000 --scenes 40 --overwrite
	$(PREPARE_ROOMS) $(@D) --first 100040 --scenes 20 --split val

$(OUT)/probing/osd/README.md: | $(VENV)/.installed-train
	$(RUN) -m benchmarks.osd prepare --out $(@D) --source $(OSD)

$(VENV)/.installed-train: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[train]"
	touch $@

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[test]"
	touch $@

clean:
	rm -rf $(VENV) $(OUT)
