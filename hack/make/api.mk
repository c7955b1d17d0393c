.PHONY: generate
generate: setup ## CRD, reference page and golden manifests from the models
	python -m hack.generate
