# make run    the demo: train, evaluate, package, install and use a model (base install)
# make test   the tests (full install); set WELT_CORPORA_MIRROR to test on real corpora
# make lint   ruff, mypy, import-linter and the rules of scripts/check_style.py
# make test-transformers5   the tests of encoders on transformers 5, in an environment of its own
# make gpu-check            on a machine with CUDA: what can only be tested there, and how fast it is
# make docs-site            the docs as a site with an API reference, in build/site
PYTHON ?= python3
VENV ?= .venv
VENV5 ?= .venv5
# Installed before the rest, so that another build can be chosen, such as one for CPUs only:
# make test TORCH="torch==2.13.0+cpu --extra-index-url ADDRESS"
TORCH ?= torch==2.13.0
# PEP 517, because older versions of pip build seqeval in a way that fails today
PIP_OPTIONS = --quiet --disable-pip-version-check --use-pep517
PIP = $(VENV)/bin/python -m pip install $(PIP_OPTIONS) --constraint requirements/constraints.txt
PIP5 = $(VENV5)/bin/python -m pip install $(PIP_OPTIONS) \
	--constraint requirements/constraints-transformers5.txt
# Tests run in so many processes, each with one thread
JOBS ?= auto
PARALLEL = OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
# What touches transformers or the hub
TESTS5 = tests/ml tests/packaging tests/llm tests/training tests/cli/test_select.py \
	tests/e2e/test_threads.py tests/e2e/test_transformer.py

.PHONY: run test test-transformers5 gpu-check lint docs docs-site clean

run: $(VENV)/.base
	$(VENV)/bin/python -m spacy project run demo

test: $(VENV)/.full
	$(PARALLEL) $(VENV)/bin/python -m pytest --numprocesses $(JOBS) --dist worksteal $(PYTEST)

test-transformers5: $(VENV5)/.full
	$(PARALLEL) $(VENV5)/bin/python -m pytest --numprocesses $(JOBS) --dist worksteal $(TESTS5) $(PYTEST)

# Python with torch for CUDA; nothing is installed. See benchmarks/README.md
gpu-check:
	$(PYTHON) benchmarks/gpu.py

lint: $(VENV)/.full
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/python scripts/check_style.py

docs: $(VENV)/.base
	$(VENV)/bin/python -m spacy project document --output docs/project.md
	sed -i.bak "s|(project.yml)|(../project.yml)|" docs/project.md && rm docs/project.md.bak

docs-site: $(VENV)/.docs
	$(VENV)/bin/python scripts/make_site.py

$(VENV)/.base: setup.cfg requirements/constraints.txt requirements/constraints-common.txt
	@echo "Installing into $(VENV) (a minute or two)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[vectors]"
	@touch $@

$(VENV)/.full: $(VENV)/.base
	@echo "Installing torch, spacy-transformers and the tools of development"
	$(PIP) $(TORCH)
	$(PIP) --editable ".[transformers,spacy-transformers,onnx,vectors,hub,llm,openai,annotation,ray,serve,dev]"
	@touch $@

# The docstrings of encoders need torch to be read
$(VENV)/.docs: $(VENV)/.full
	$(PIP) --editable ".[docs]"
	@touch $@

$(VENV5)/.full: setup.cfg requirements/constraints-transformers5.txt requirements/constraints-common.txt
	@echo "Installing transformers 5 into $(VENV5) (two minutes or three)"
	$(PYTHON) -m venv $(VENV5)
	$(PIP5) $(TORCH)
	$(PIP5) --editable ".[transformers,onnx,vectors,hub,llm,openai,dev]" "transformers>=5"
	@touch $@

clean:
	rm -rf $(VENV) $(VENV5) corpus training packages project.lock build *.egg-info
