.PHONY: setup cluster image down generate

# What the native cluster and the image build need from the distribution (as root).
setup:
	tests/cluster/cluster setup

# A Kubernetes to work on: see tests/cluster/README.md.
cluster:
	tests/cluster/cluster up

# Builds the operator's image and brings it into the cluster; its name is the last line.
image:
	@tests/cluster/image

down:
	tests/cluster/cluster down

# The files that are made of others, and checked in: a test fails where one is old.
generate:
	cargo run --quiet -- crds >crds/backfill.dev_backfillruns.yaml
	cp crds/backfill.dev_backfillruns.yaml charts/backfill-operator/files/crds.yaml
