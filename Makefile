.PHONY: help setup cluster image demo demo-rollback test test-servers fuzz bench bench-quick generate down

help: ## What there is to make
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' $(MAKEFILE_LIST) | column -t -s "$$(printf '\t')"

setup: ## Install what tests and demo need from the distribution (as root)
	tests/setup

cluster: ## A Kubernetes to work on: see tests/cluster/README.md
	tests/cluster/cluster up

image: ## Build the operator's image and bring it into the cluster; its name is the last line
	@tests/cluster/image

demo: ## A backfill of 20,000 rows on a real cluster, from apply to Succeeded
	@tests/demo/demo

demo-rollback: ## The same, but verification fails: undo brings the data back while the application keeps writing
	@tests/demo/demo rollback

test: ## All tests; CI runs the same
	@tests/run

test-servers: ## The engine's tests on PostgreSQL 14 to 18 (Maven fetches the servers, once)
	@tests/servers/servers test

fuzz: ## Long runs of the random tests: the SQL guard and whole runs of the engine (CASES=20000 RUNS=300)
	@tests/fuzz

bench: ## Measure a million rows beside what teams write instead: docs/performance (over an hour, on a quiet machine)
	@tests/bench/bench --profile full

bench-quick: ## The same with 100,000 rows, into out/bench
	@tests/bench/bench --profile quick

generate: ## Write what is generated: CRD, chart copy, API reference
	cargo run --locked --quiet -- crds > crds/backfill.dev_backfillruns.yaml
	cp crds/backfill.dev_backfillruns.yaml charts/backfill-operator/files/crds.yaml
	cargo run --locked --quiet -- reference > docs/reference.md

down: ## End the cluster, and the Argo CD beside it
	tests/argocd/argocd down
	tests/cluster/cluster down
