# Two commands are enough: `make demo` runs the main job, `make test` passes the tests.
# Both install what is missing on a fresh Debian or Ubuntu machine (as root) and can be run again.

SHELL := /bin/bash
.DEFAULT_GOAL := help
CLUSTER ?= local
BOOTSTRAP := hack/bootstrap.sh
# Node 24 comes from the npm registry with the other dependencies: the system's Node may be older.
NODE := PATH="$(CURDIR)/node_modules/.bin:$$PATH"

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

.PHONY: demo
demo: ## From nothing to a Pod in a Kata sandbox on a real cluster (CLUSTER=kind where Docker and a registry are there)
	@$(BOOTSTRAP) cluster
	@$(NODE) node e2e/demo/main.ts --cluster $(CLUSTER)

.PHONY: demo-down
demo-down: ## Remove the demo's cluster
	@$(BOOTSTRAP) node
	@$(NODE) node e2e/demo/main.ts down --cluster $(CLUSTER)

.PHONY: test
test: ## Lint, types, unit, property, integration and end-to-end tests, with the counts at the end
	@$(BOOTSTRAP) cluster
	@$(NODE) node test/run.ts all

.PHONY: test-unit
test-unit: ## The quick part, under a minute
	@$(BOOTSTRAP) node
	@$(NODE) node test/run.ts unit

.PHONY: build
build: ## Bundle the controller, kata-node and the helper into dist/
	@$(BOOTSTRAP) node
	@$(NODE) node build/bundle.ts

.PHONY: generate
generate: ## Write CRDs, manifests and reference again after a change of the schemas
	@$(BOOTSTRAP) node
	@$(NODE) node build/generate.ts

.PHONY: lint
lint: ## Linter and formatter
	@$(BOOTSTRAP) node
	@$(NODE) npm run --silent lint

.PHONY: bench
bench: ## Run a benchmark: make bench NAME=walking-path
	@$(BOOTSTRAP) cluster
	@$(NODE) node bench/main.ts $(NAME)
