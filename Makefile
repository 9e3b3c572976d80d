# make demo: the whole job on simulated homes, no server needed.  make test: every check.  make help: the rest.
.DEFAULT_GOAL := help
.PHONY: help demo test setup bench lock clean

help:  ## Show this
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

demo: .venv/.main  ## Readings in, an event certified and settled on a chain. Options: make demo ARGS="--homes 10"
	.venv/bin/negawatt demo $(ARGS)

test: .venv/.dev  ## Style, types, tests, contracts, and the tests that start real servers
	infra/test.sh

setup: .venv/.main  ## Install what the main job needs

bench: .venv/.dev  ## Measure everything, or one thing: make bench NAME=certify
	.venv/bin/python -m benchmarks $(NAME) $(ARGS)

lock:  ## Choose all package versions anew (needs uv)
	infra/lock.sh

clean:  ## Remove what was built and installed
	rm -rf .venv .venv-slither build .negawatt contracts/node_modules contracts/out contracts/cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.%: locks/%.txt setup.cfg contracts/package-lock.json infra/setup.sh
	infra/setup.sh $*
