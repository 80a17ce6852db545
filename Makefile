# Sinawi: build it, run it, test it. `make help` lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# One set of tags for everything, so that one build cache serves every target.
export GOFLAGS := -buildvcs=false -tags=netgo,osusergo,seccomp,no_btrfs,no_zfs,no_devmapper

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
KUBE    := k8s.io/component-base/version
LDFLAGS := -s -w -X github.com/sinawi/sinawi/internal/version.build=$(VERSION) \
	-X $(KUBE).gitVersion=v1.37.2+sinawi -X $(KUBE).gitMajor=1 -X $(KUBE).gitMinor=37
HELPER  := internal/runtime/helperbin/embedded/helper.zst
DEMO    := internal/demo/embedded/web.zst
PACKAGES ?= ./...

.PHONY: help deps build helper up down test test-faults bench bench-scale fuzz lint clean

help: ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

deps: ## install what a fresh machine lacks, or say what to install
	@tools/deps.sh

helper: deps ## build the small programs that the main binary carries
	@go run ./tools/buildhelper -package ./cmd/sinawi-helper,./cmd/sinawi-shim -out $(HELPER)
	@go run ./tools/buildhelper -package ./cmd/sinawi-demo -cgo=false -out $(DEMO)

build: helper ## build bin/sinawi
	@echo "building bin/sinawi (the first time takes some minutes)"
	@CGO_ENABLED=0 go build -ldflags '$(LDFLAGS)' -o bin/sinawi ./cmd/sinawi
	@ls -lh bin/sinawi | awk '{print "bin/sinawi", $$5}'

up: build ## build, then bring up a one-node cluster on this machine
	@bin/sinawi up --detach

down: ## stop the cluster that `make up` brought up
	@bin/sinawi down

test: build lint ## build, lint and run every test, with real containers
	@go test -p 2 -timeout 30m $(PACKAGES)

test-faults: build ## kill the server KILLS times (default 200) while workloads are rolled out
	@SINAWI_TEST_KILLS=$(or $(KILLS),200) go test ./test/workloads -run '^TestFaults$$' -count=1 -v -timeout 3h

bench: build ## measure the figures that the README names, in one table
	@go run ./test/bench

bench-scale: build ## measure the control plane with simulated nodes; SCALE='-nodes 5000 -pods 50000' for more
	@go run ./test/bench/scale $(SCALE)

fuzz: ## run every fuzz test for FUZZTIME (default 60s)
	@tools/fuzz.sh $(or $(FUZZTIME),60s)

lint: helper ## gofmt, go vet, staticcheck
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "not gofmt-ed (run gofmt -w on them):"; echo "$$out"; exit 1; fi
	@go vet $(PACKAGES)
	@go tool staticcheck $(PACKAGES)

clean: ## remove what was built
	@rm -rf bin $(HELPER) $(DEMO)
