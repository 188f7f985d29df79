# make demo  : set up, collect demonstrations, train a policy, evaluate it, leave runs/demo
# make field : set up, collect scenes seen from all around, train the neural feature field alone, leave runs/field_only
# make test  : set up and run every test
# make rlbench-contract : hold what we call of RLBench and PyRep against their signatures, without either
# make ros-test : install Debian's ROS 1 where it may (root, apt), test against a real master and a simulated Franka;
#                 ALL=1 adds the slow ones
# make env   : only set up (.venv)          make check : linters and type checker
# make doctor: what works on this machine, and how to mend what does not; CONFIG="configs/gnfactor.yaml ..." for what
#              that configuration needs
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
RLBENCH_DIR ?= ../shared/rlbench
ROS := .ros
DEMO_TASKS := open_drawer,push_buttons,slide_block_to_color_target

.PHONY: env test check doctor demo field rlbench-check rlbench-contract ros-test clean
.DELETE_ON_ERROR:

env: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml tools/env.py tools/pins.py
	@$(PYTHON) tools/env.py $(VENV)
	@touch $@

test: env
	$(RUN) -m pytest -q -n 2 --dist worksteal

check: env
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/basedpyright

doctor:
	@$(if $(wildcard $(RUN)),$(RUN),$(PYTHON)) -m gnfactor.doctor $(CONFIG)

# Each step keeps what is there and continues where it was interrupted; a finished demo only shows its report.
demo: env
	@if [ runs/demo/report.json -nt configs/quickstart.yaml ]; then cat runs/demo/report.md; \
		else $(MAKE) --no-print-directory runs/demo/report.json; fi
	@echo "runs/demo holds the checkpoint, report.md, report.json, training.png and videos"

runs/demo/report.json: configs/quickstart.yaml
	$(RUN) -m data.collect data/stores/demo --tasks $(DEMO_TASKS) --episodes 120 --seed 0 --workers 2 \
		--cameras front,left_shoulder,right_shoulder --rig arc:10
	$(RUN) train.py configs/quickstart.yaml resume=true
	$(RUN) eval.py runs/demo run_dir=runs/demo

# The neural feature field alone: collect 40 scenes with a rig of 25 views, train, measure on held-out views.
field: env
	$(RUN) -m data.collect data/stores/field --tasks open_drawer,push_buttons --episodes 20 --seed 0 --workers 2 \
		--cameras front,left_shoulder,right_shoulder --rig arc:25
	$(RUN) train.py configs/field_only.yaml resume=true

# Real RLBench demonstrations: train on the first four episodes, compare with the mean keyframe on the fifth.
rlbench-check: env
	@test -d "$(RLBENCH_DIR)" || { echo "no RLBench demonstrations at RLBENCH_DIR=$(RLBENCH_DIR); set it to a folder" \
		"that holds <task>/all_variations/episodes"; exit 2; }
	$(RUN) -m data.convert "$(RLBENCH_DIR)" data/stores/rlbench_check
	$(RUN) train.py configs/quickstart.yaml configs/rlbench_check.yaml resume=true
	$(RUN) -m data.holdout runs/rlbench_check

# Our calls against the signatures of three RLBenches; where one is installed, the signatures against it.
rlbench-contract: env
	$(RUN) -m pytest -q tests/test_rlbench_contract.py

# Real ROS 1, on the loopback interface of a network of its own where root may have one. Every file has a process of its
# own: rospy knows one node and one master in its life.
ros-test: env
	@$(RUN) tools/ros.py install $(ROS)
	@$(RUN) tools/ros.py test $(ROS) $(if $(ALL),--all)

clean:
	rm -rf $(VENV) $(ROS) runs data/stores .pytest_cache .ruff_cache .hypothesis
