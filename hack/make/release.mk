.PHONY: publish release-dry-run workflow-lint
publish: setup ## the operator's image and the chart into a registry: REGISTRY=HOST/PATH (CA=, USERNAME=, PLAIN_HTTP=1; ARGS="--help")
	@python -m hack.release publish $(REGISTRY) $(if $(CA),--ca $(CA)) $(if $(USERNAME),--username $(USERNAME)) $(if $(PLAIN_HTTP),--plain-http) $(ARGS)

release-dry-run: setup ## a release's files in dist/release (TO=), nothing is sent: wheel, image, chart, SBOM, checksums, notes
	@python -m hack.release dry-run --to $(or $(TO),dist/release) $(if $(REGISTRY),--registry $(REGISTRY)) $(ARGS)

workflow-lint: setup ## actionlint over the forge's workflow files
	@python -m hack.release.workflows
