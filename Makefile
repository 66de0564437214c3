# Every target sets up what it needs in .venv: Python 3.11 or newer is all that must be there. PYTHON=... names another one.
.DEFAULT_GOAL := help
.PHONY: help demo test checks advisories pages docs mutants fuzz simulate explore chaos upgrade soak recovery lint types bench bench-full fmt locks clean
export PYTHON
# what is imported is compiled once, not again by each of the many processes that demo and test start
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
PARTS := .venv/installed-parts
TESTS := .venv/installed-test
DOCS := .venv/installed-docs
PROMTOOL_VERSION := v0.316.0
PROMTOOL := .cache/promtool-$(PROMTOOL_VERSION)/promtool
HELM_VERSION := v3.22.0
HELM := .cache/helm-$(HELM_VERSION)/helm
COMPOSE_VERSION := v2.16.2
COMPOSE := .cache/compose-go-$(COMPOSE_VERSION)/cmd
CHECKERS := .cache/checkers
ADVISORIES := .cache/advisories
ARGS :=
SEED :=
# the slow tests wait half of their time, so there are more of pytest's workers than cores; who begins with what: tests/support/turns.py
PYTEST_WORKERS := 4

help: ## print these targets
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(PARTS) ## run the whole thing on this machine and show it; ARGS="--keep" leaves it running
	@$(BIN)/ledger-worker demo $(ARGS)

test: $(TESTS) ## run all tests on a real Kafka and Postgres; ARGS="tests/unit -k money" runs some
	@$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal $(ARGS)

mutants: $(TESTS) ## sabotage the worker in each way of tests/mutants: its tests must notice; ARGS="07 12" tries some
	@$(BIN)/python -m tests.mutants $(ARGS)

fuzz: $(TESTS) ## hostile input at length, on all that reads bytes from outside; MINUTES=10
	@$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),10) $(ARGS)

simulate: $(TESTS) ## the decisions in virtual time, on random stories; RUNS=1000 SEED=7 plays those seeds again
	@$(BIN)/python -m tests.simulation --runs $(or $(RUNS),100000) $(if $(SEED),--seed $(SEED))

explore: $(TESTS) ## every story of a small world, by states
	@$(BIN)/python -m tests.simulation.explore

lint: $(TESTS) ## ruff, its format, the layers of imports, and that each dependency is declared and used
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/deptry --optional-dependencies-dev-groups test worker schemas sandbox migrations ledger_client
	@$(BIN)/deptry .

types: $(TESTS) ## mypy
	@$(BIN)/mypy

checks: $(TESTS) $(PROMTOOL) $(HELM) $(COMPOSE) $(CHECKERS)/installed ## by others' own tools (Go builds some): alerts, AsyncAPI, compose, Dockerfile, chart; then the image's commands, and TLS to Postgres
	@$(PROMTOOL) check rules deploy/prometheus/alerts.yml
	@$(PROMTOOL) test rules deploy/prometheus/alerts_test.yml
	@$(PROMTOOL) check config deploy/prometheus/prometheus.yml
	@$(BIN)/python -m tests.checks.asyncapi
	@$(COMPOSE) -no-interpolation docker-compose.yml >/dev/null && echo "docker-compose.yml is valid by compose-go $(COMPOSE_VERSION)"
	@$(CHECKERS)/bin/python -m tests.checks.dockerfile
	@$(CHECKERS)/bin/python -m tests.checks.chart $(HELM)
	@$(BIN)/python -m tests.checks.image
	@$(BIN)/python -m tests.checks.postgres

advisories: $(ADVISORIES)/installed ## known vulnerabilities of all that is locked; asks PyPI's advisories, so it needs a network
	@for lock in requirements/*.txt; do echo $$lock; $(ADVISORIES)/bin/pip-audit --disable-pip --require-hashes --requirement $$lock || failed=1; done; exit $${failed:-0}

pages: $(TESTS) ## write the reference pages that are made from code: commands, error codes, command line, metrics, log events, licences
	@$(BIN)/python -m schemas.export
	@$(BIN)/python -m worker.cli.pages
	@$(BIN)/python -m worker.observe.pages
	@$(BIN)/python -m tests.tidy.licences

docs: $(DOCS) ## build the documentation as a site, in build/site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo 'build/site/index.html; the search wants a server: python -m http.server --bind 127.0.0.1 --directory build/site'

bench: $(TESTS) ## commands per second and memory, as ratios of things run in one go
	@$(BIN)/python -m benchmarks $(ARGS)

bench-full: $(TESTS) ## speed and scale, each figure against its goal, an hour and more; ARGS="latency hot" some, ARGS="--scale 0.1" a tenth
	@$(BIN)/python -m benchmarks.full $(ARGS)

chaos: $(TESTS) ## kill a worker at every step, then seeded runs where all goes wrong; SEED=n or RUNS=n: seeded runs alone
	@$(if $(SEED)$(RUNS),,$(BIN)/python -m tests.chaos.matrix $(ARGS))
	@$(if $(ARGS),,$(BIN)/python -m tests.chaos.seeded $(if $(SEED),--seed $(SEED),--runs $(or $(RUNS),20)))
	@$(if $(SEED)$(RUNS)$(ARGS),,$(BIN)/python -m tests.chaos.forgetting --runs 4)

upgrade: $(TESTS) ## a release of before and this one at one database under load, to and fro; FROM=commit, else some
	@$(if $(FROM),,$(BIN)/python -m pytest -s tests/chaos/test_upgrade.py)
	@LEDGER_TEST_UPGRADE_FROM=$(or $(FROM),HEAD~1) $(BIN)/python -m pytest -s tests/chaos/test_upgrade.py -k release_before

soak: $(TESTS) ## steady load with faults; MINUTES=20; what the worker uses must stay flat; plots in .soak/
	@$(BIN)/python -m tests.chaos.soak --minutes $(or $(MINUTES),20)

recovery: $(TESTS) ## how long accounts stand still after a kill and after each part's return
	@$(BIN)/python -m tests.chaos.recovery $(ARGS)

fmt: $(TESTS) ## format, and mend what ruff can
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

locks: $(TESTS) ## compile requirements/*.txt again from pyproject.toml
	@$(BIN)/python requirements/compile.py

clean: ## remove .venv, what was fetched and what was built
	rm -rf .venv .cache .demo .chaos .soak build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PROMTOOL):
	@GOBIN=$(CURDIR)/$(dir $@) go install github.com/prometheus/prometheus/cmd/promtool@$(PROMTOOL_VERSION)

$(HELM):
	@GOBIN=$(CURDIR)/$(dir $@) go install helm.sh/helm/v3/cmd/helm@$(HELM_VERSION)

# the reference implementation of the Compose Specification, which carries its schema
$(COMPOSE):
	@GOBIN=$(CURDIR)/$(dir $@) go install github.com/compose-spec/compose-go/v2/cmd@$(COMPOSE_VERSION)

$(CHECKERS)/installed: $(TESTS) requirements/checks.txt
	@$(BIN)/python -m venv --clear $(CHECKERS)
	@$(CHECKERS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/checks.txt
	@touch $@

$(ADVISORIES)/installed: $(TESTS) requirements/advisories.txt
	@$(BIN)/python -m venv --clear $(ADVISORIES)
	@$(ADVISORIES)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/advisories.txt
	@touch $@

$(PARTS): requirements/parts.txt requirements/uv.txt requirements/install pyproject.toml
	@sh requirements/install requirements/parts.txt
	@touch $@

$(TESTS): requirements/test.txt requirements/uv.txt requirements/install pyproject.toml
	@sh requirements/install requirements/test.txt
	@touch $@ $(PARTS)

$(DOCS): requirements/docs.txt requirements/uv.txt requirements/install pyproject.toml
	@sh requirements/install requirements/docs.txt
	@touch $@
