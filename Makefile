.PHONY: setup cluster image down

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
