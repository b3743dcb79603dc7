# A fresh machine needs Python >= 3.10, make and git; everything else comes through pip.
PYTHON ?= python3
VENV ?= .venv
SCAN ?= concerto/assets/sample_room.npz
OUT ?= out
NAME := $(basename $(notdir $(SCAN)))
RUN := $(VENV)/bin/python
CORES := $(shell nproc 2>/dev/null || echo 2)

.PHONY: demo test lint table tiny clean

# The main job: a scan in, a picture of its features and the features themselves out.
demo: $(VENV)/.installed
	$(VENV)/bin/concerto pca "$(SCAN)" -o "$(OUT)/$(NAME).png"
	$(VENV)/bin/concerto encode "$(SCAN)" -o "$(OUT)" --overwrite

# A process for each core, of one thread each.
test: lint
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto

lint: $(VENV)/.installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

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

OSD ?= $(wildcard $(or $(CONCERTO_SHARED),../shared)/data/osd)
# A split of scenes gets its place when it is whole, and is made anew otherwise.
PROBED := $(OUT)/probing/rooms/train $(OUT)/probing/rooms/val $(if $(OSD),$(OUT)/probing/osd/val)
PROBED_ON := --rooms $(OUT)/probing/rooms $(if $(OSD),--osd $(OUT)/probing/osd)

# On Linux, memory that stays with the process, in huge pages: docs/pretraining.md says what it gives.
table tiny: export GLIBC_TUNABLES := glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=268435456:glibc.malloc.trim_threshold=1073741824

# What the packaged weights know of rooms, made on the spot, and of the Object Segmentation Database
# where it is at hand: docs/tiny.md.
table: $(PROBED)
	$(RUN) -m benchmarks.probing $(PROBED_ON) --joint concerto-tiny --alone benchmarks/probing/alone \
	    --output $(OUT)/probing/packaged.json

# What the two trainings of `make tiny` are told apart by: images whose features are kept; and none,
# with Sonata's weights of the other losses.
joint := --views.no-augment-images --images.cache $(OUT)/tiny/image-features
alone := --images.name None --views.no-use-images --views.no-drops \
    --objective.cross-modal-weight 0 --objective.mask-weight 0.25 \
    --objective.roll-mask-weight 0.25 --objective.unmask-weight 0.5

# concerto-tiny from nothing: rooms, the encoder, one without images beside it, and the table. Each
# training goes on where it was stopped; `make -j2 tiny` runs both at a time.
tiny: $(PROBED) $(OUT)/tiny/joint/model $(OUT)/tiny/alone/model
	$(RUN) -m benchmarks.probing $(PROBED_ON) --joint $(OUT)/tiny/joint/model \
	    --alone $(OUT)/tiny/alone/model --output $(OUT)/probing/trained.json

$(OUT)/tiny/joint/model $(OUT)/tiny/alone/model: $(OUT)/tiny/%/model: $(OUT)/tiny/rooms/train
	$(RUN) -m concerto.training.pretrain --recipe concerto-tiny --data $(OUT)/tiny/rooms \
	    --output $(OUT)/tiny/$* --muon --batch-size 2 --max-steps 5000 --save-every 100 --resume $($*)
	$(RUN) -m concerto.training.export $(@D) $@ --license apache-2.0

$(OUT)/tiny/rooms/train: | $(VENV)/.installed-train
	$(RUN) -m concerto.training.prepare rooms $(@D) --workers $(CORES) --scenes 200

$(OUT)/probing/rooms/val: | $(VENV)/.installed-train
	$(RUN) -m concerto.training.prepare rooms $(@D) --workers $(CORES) --scenes 20 \
	    --first 100040 --split val

# After the other split: both take all cores, and write one card.
$(OUT)/probing/rooms/train: | $(OUT)/probing/rooms/val
	$(RUN) -m concerto.training.prepare rooms $(@D) --workers $(CORES) --scenes 40 \
	    --first 100000

# Made with the other split, and after it.
$(OUT)/probing/osd/val: | $(VENV)/.installed-train
	$(RUN) -m benchmarks.osd prepare --out $(@D) --source $(OSD)

clean:
	rm -rf $(VENV) $(OUT)
