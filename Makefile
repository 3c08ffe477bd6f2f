# make run    trains a task on the twin; installs and builds what is missing first
# make test   all tests                    make lint    ruff
# make setup  only installs and builds     make clean   removes what was built (not the environment, not runs/)
#
# make run NAME=pushing TASK=pushing MODE=worldsample MINUTES=25 SEED=0 HEADLESS=1 ARGS="log_level:=debug ..."
# MINUTES=0 runs until Ctrl-C. ARGS takes any launch argument (`worldsample run --help` lists them).

TASK ?= pushing
NAME ?= $(TASK)
MODE ?= worldsample
MINUTES ?= 0
SEED ?= 0
HEADLESS ?= 0
ARGS ?=
PYTEST_ARGS ?=
PYTHON ?= python3
VENV ?= .venv

SHELL := /bin/bash
IN_ENVIRONMENT = . scripts/environment.sh $(VENV) &&
# With a sourced ROS 2 (ROS_DISTRO set) its packages are used and no ROS wheels are installed.
REQUIREMENTS = requirements.txt $(if $(ROS_DISTRO),,requirements-ros.txt)
VENV_FLAGS = $(if $(ROS_DISTRO),--system-site-packages)
SYSTEM = $(VENV)/.system-packages
WHEELS = $(VENV)/.wheels
WORKSPACE = build/.built
# Python modules are linked, not copied: only what colcon copies or generates asks for a new build.
SOURCES = $(shell find src compat launch colcon.meta scripts/build.sh -type f \( ! -name '*.py' -o -name setup.py \
    -o -name '*.launch.py' \) ! -name '*.pyc' ! -path '*/.*' ! -path '*.egg-info/*')

.PHONY: run test lint setup build clean

run: build
	@$(IN_ENVIRONMENT) exec worldsample run --name '$(NAME)' --task '$(TASK)' --mode '$(MODE)' \
	    --minutes '$(MINUTES)' --seed '$(SEED)' $(if $(filter-out 0,$(HEADLESS)),--headless) $(ARGS)

test: build
	@$(IN_ENVIRONMENT) exec python -m pytest src tests $(PYTEST_ARGS)

lint: $(WHEELS)
	@$(VENV)/bin/ruff check src tests launch scripts benchmarks

setup: build
build: $(WORKSPACE)

$(SYSTEM): scripts/system_packages.sh
	@PYTHON='$(PYTHON)' scripts/system_packages.sh
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV_FLAGS) $(VENV)
	@touch $@

$(WHEELS): $(SYSTEM) $(REQUIREMENTS) constraints.txt
	@echo "Installing Python packages into $(VENV) (once, about a minute)"
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	    $(addprefix -r ,$(REQUIREMENTS)) -c constraints.txt
	@touch $@

$(WORKSPACE): $(WHEELS) $(SOURCES)
	@scripts/build.sh $(VENV)
	@touch $@

clean:
	rm -rf build install log
