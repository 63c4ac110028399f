# make run    the demo: train, evaluate, package, install and use a model (base install)
# make test   the tests (full install); set WELT_CORPORA_MIRROR to test on real corpora
# make lint   ruff and mypy
PYTHON ?= python3
VENV ?= .venv
# Installed before the rest, so that no CUDA build comes along on a CPU machine
TORCH ?= torch==2.13.0
# PEP 517, because older versions of pip build seqeval in a way that fails today
PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --use-pep517 \
	--constraint requirements/constraints.txt

.PHONY: run test lint docs clean

run: $(VENV)/.base
	$(VENV)/bin/python -m spacy project run demo

test: $(VENV)/.full
	$(VENV)/bin/python -m pytest $(PYTEST)

lint: $(VENV)/.full
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

docs: $(VENV)/.base
	$(VENV)/bin/python -m spacy project document --output docs/project.md
	sed -i.bak "s|(project.yml)|(../project.yml)|" docs/project.md && rm docs/project.md.bak

$(VENV)/.base: setup.cfg requirements/constraints.txt
	@echo "Installing into $(VENV) (a minute or two)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

$(VENV)/.full: $(VENV)/.base
	@echo "Installing torch, spacy-transformers and the tools of development"
	$(PIP) "$(TORCH)"
	$(PIP) --editable ".[transformers,spacy-transformers,onnx,dev]"
	@touch $@

clean:
	rm -rf $(VENV) corpus training packages project.lock build *.egg-info
