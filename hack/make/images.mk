.PHONY: operator-image engine-image engine-image-cpu engine-image-smoke image-lock
VERSION = $(shell python -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')
BUILD_IMAGE = python3 -m hack.localcluster build-image

operator-image: setup ## the operator's image as an archive (docker, podman, or buildah without them)
	$(BUILD_IMAGE) --dockerfile operator/Dockerfile --tag andante-operator:$(VERSION) $(ARGS)

engine-image: ## the prebuilt engine image on the official vLLM image; needs docker and about 20 GB
	docker build -f engine_image/Dockerfile -t andante-engine:$(VERSION) $(ARGS) .

# None of these is a part of any test run: the image takes about 15 minutes and 30 GB of disk the first time. The demo and
# the end-to-end tests mount the engine environment from this machine (docs/decisions/0007-host-mounts-on-the-local-node.md).
CPU_BASE = --dockerfile engine_image/cpu-base.Dockerfile --tag localhost/andante-vllm-cpu:0.32.0

engine-image-cpu: setup ## the prebuilt engine image with vLLM for CPUs (15 minutes and 30 GB the first time); prints the archive
	@base="$$($(BUILD_IMAGE) $(CPU_BASE) --as-base)" \
	  && $(BUILD_IMAGE) --dockerfile engine_image/Dockerfile --tag andante-engine:$(VERSION)-cpu --build-arg BASE="$$base"

# Unlike other targets that start with a cluster, this one runs images as production does: in a restricted namespace.
engine-image-smoke: setup ## a plain vLLM image for CPUs as a restricted pod, Andante copied in: an answer, helm test (PACKAGE_FROM=Image)
	@$(MAKE) --no-print-directory cluster-binaries helm
ifeq ($(PACKAGE_FROM),Image)
	python -m hack.engine_image_smoke --package-from Image "$$($(MAKE) --no-print-directory -s engine-image-cpu | tail -1)"
else
	python -m hack.engine_image_smoke "$$($(BUILD_IMAGE) $(CPU_BASE) | tail -1)"
endif

image-lock: setup ## re-resolve what the images' wheel is built with
	printf 'hatchling>=1.27\n' | $(UV_COMPILE) -q - -o operator/build-requirements.lock
