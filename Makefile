# make demo  : set up, collect demonstrations, train a policy, evaluate it, leave runs/demo
# make test  : set up and run every test
# make env   : only set up (.venv)          make check : linters and type checker
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
RLBENCH_DIR ?= ../shared/rlbench
DEMO_TASKS := open_drawer,push_buttons,slide_block_to_color_target

.PHONY: env test check demo rlbench-check clean

env: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml tools/env.py
	@$(PYTHON) tools/env.py $(VENV)
	@touch $@

test: env
	$(RUN) -m pytest -q

check: env
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/basedpyright

clean:
	rm -rf $(VENV) runs data/stores .pytest_cache .ruff_cache .hypothesis
