# What a person does with this repository, one target each. Third-party servers
# and tools are pinned in deploy/tools and built once into bin/.

.DEFAULT_GOAL := help
.PHONY: help tools run demo test test-minio check bench proto clean

get := deploy/tools/get

# DIR is the folder whose files the demo reads.
DIR ?=

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools: ## fetch or build the servers that run and test start, once
	@$(get) temporal versitygw postgres

run: ## start everything on this machine: Temporal with its UI, an S3 server, the daemon
	@$(get) temporal versitygw
	@go build -o bin/payload-manager ./worker/payload-manager
	@exec bin/payload-manager dev

demo: ## walk real files through the life of a payload; DIR=folder names yours
	@$(get) temporal versitygw
	@go run ./e2e/demo $(if $(DIR),--dir '$(DIR)')

test: tools ## all tests, on real servers
	go test -timeout 30m ./...

test-minio: tools ## the tests of the object tier on MinIO as well
	@$(get) minio
	PAYLOAD_TEST_MINIO=1 go test -timeout 30m ./deploy/servers ./tiers/object/...

check: ## everything that needs no server: format, vet, linters, generated code, arrows
	@$(get) staticcheck workflowcheck protoc
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; }
	go vet ./...
	bin/staticcheck ./...
	bin/workflowcheck -config workflows/workflowcheck.yaml ./workflows/...
	deploy/tools/proto check
	go test ./worker -run TestArrows
	CGO_ENABLED=0 go build ./sdk/...

bench: ## measure this machine
	@$(get) temporal versitygw postgres
	@go run ./e2e/bench

proto: ## generate Go from the .proto files
	@$(get) protoc
	deploy/tools/proto generate

clean: ## forget what was built and the data of make run
	rm -rf bin .dev
