# What a newcomer types. Needs Python 3.11 or later; everything else goes into .venv.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
VENV := .venv
# Half of what a test takes is waiting, for steps of a job or an answer: one more than two cores.
WORKERS ?= 3
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet install

.PHONY: help run test plug check bench clean

help:
	@echo "make run    start the studio on http://127.0.0.1:7860"
	@echo "make test   run every test"
	@echo "make plug   pull every plug of a studio of many processes: 200 jobs, each home"
	@echo "make check  format, lint, types, layers"
	@echo "make bench  measure, and keep the table in bench/RESULTS.md"
	@echo "make clean  remove $(VENV) and what tests left behind"

run: $(VENV)/run.done
	@exec $(PY) -u studio_app.py

test: $(VENV)/dev.done
	@sh .ci/needs tests
	@$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

plug: $(VENV)/dev.done
	@sh .ci/needs tests
	@STUDIO_PLUG_LONG=1 $(PY) -m pytest -s tests/plug $(ARGS)

check: $(VENV)/dev.done
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	@rm -f studio/tabs/*.pyi  # Gradio writes them; mypy would read them in place of the code
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

bench: $(VENV)/run.done
	$(PY) -m bench --save

clean:
	rm -rf $(VENV) tests/artefacts .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# A stamp lies inside the environment, so that a removed or half-made one is made anew.
$(VENV)/made.done:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed. If it has another name: make run PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || sh .ci/needs venv
	@echo "Making $(VENV) and installing what is needed: once, a minute or two."
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/run.done: $(VENV)/made.done requirements.txt
	$(PIP) -r requirements.txt
	@touch $@

$(VENV)/dev.done: $(VENV)/made.done requirements.txt requirements-dev.txt
	$(PIP) -r requirements-dev.txt
	@touch $@ $(VENV)/run.done
