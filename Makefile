# make demo: install, convert the embedded levit_128s to int8 TFLite, classify pictures with it.  make test: all checks.
PYTHON ?= python3.11
VENV ?= .venv
PY := $(VENV)/bin/python
# Another picture to classify in the demo: make demo IMAGE=path/to/picture.jpg
IMAGE ?=
INSTALLED := $(VENV)/.installed
# Where `make results` finds pictures by class, in train/ and val/.
DATA ?=
# Processes that share the tests, file by file; each takes a core and up to 4 GB.
JOBS ?= 2

.PHONY: demo test slow lint install results clean

install: $(INSTALLED)

# Rerun when the list of packages changes; the marker is written last, so an interrupted install is repeated.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[tflite,executorch,coreml,onnx,hub,adb,completion,tensorboard,report,dev]'
	touch $@

demo: $(INSTALLED)
	$(PY) -m edge_vit.convert levit_128s --target tflite --int8
	$(PY) -m edge_vit.classify artifacts/levit_128s_int8.tflite --draw artifacts/golf_ball.png --subject "golf ball"
	$(PY) -m edge_vit.classify artifacts/levit_128s_int8.tflite $(if $(IMAGE),"$(IMAGE)",--draw artifacts/parachute.png --subject parachute)

lint: $(INSTALLED)
	$(PY) -m ruff check .
	$(PY) -m mypy

test: lint
	$(PY) -m pytest -n $(JOBS) --dist loadfile -m "not slow and not device"

slow: $(INSTALLED)
	$(PY) -m pytest -m "slow and not device"

# The README's tables, measured anew.
results: $(INSTALLED)
	$(PY) benchmarks/results.py --data "$(DATA)/val" --calib "$(DATA)/train" --write

clean:
	rm -rf $(VENV) artifacts build *.egg-info .pytest_cache .mypy_cache .ruff_cache
