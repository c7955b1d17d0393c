#!/usr/bin/env bash
# The planner of ai-dynamo, which takes part in the league of scaling laws, in a virtual environment of its own, cached
# outside the tree:
#   $ANDANTE_CACHE/league-env/dynamo-1.4.2-py3.11     (about 800 MB; no GPU, no etcd, no cluster)
# The interpreter is python3, or the one that ANDANTE_PYTHON names. Prints the folder as its last line.
#   hack/league_env.sh            install the locked requirements (does nothing when that has been done)
#   hack/league_env.sh --lock     resolve again and write benchmarks/league/requirements.lock
set -euo pipefail
cd "$(dirname "$0")/.."

VERSION=1.4.2
LOCK=benchmarks/league/requirements.lock
PYTHON="${ANDANTE_PYTHON:-python3}"
CACHE="${ANDANTE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/andante}"
UV=.venv/bin/uv

[ -x "$UV" ] || { echo "league-env: run 'make setup' first: $UV is missing" >&2; exit 2; }

if [ "${1:-}" = --lock ]; then
  scratch="$(mktemp -d)"; trap 'rm -rf "$scratch"' EXIT
  # The two packages alone ask for transformers and more, which the planner does not import: its own needs are named.
  printf '%s\n' "ai-dynamo==$VERSION" "ai-dynamo-runtime==$VERSION" > "$scratch/planner.in"
  cat > "$scratch/needs.in" <<'NEEDS'
numba>=0.65
numpy
pyyaml
pydantic
scikit-learn
pandas
pmdarima
prophet
filterpy
msgspec
aiohttp
grpcio
protobuf
kubernetes<33,>=32.0.1
prometheus-client<1.0,>=0.23.1
prometheus-api-client
cronsim
NEEDS
  compile=("$UV" pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header)
  "${compile[@]}" --no-deps "$scratch/planner.in" -o "$scratch/planner.lock"
  "${compile[@]}" "$scratch/needs.in" -o "$scratch/needs.lock"
  cat "$scratch/planner.lock" "$scratch/needs.lock" > "$LOCK"
  echo "league-env: wrote $LOCK"
  exit 0
fi

python_version="$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
env="$CACHE/league-env/dynamo-$VERSION-py$python_version"
stamp="$env/.andante-recipe"
recipe="$(cat "$LOCK" "$0" | sha256sum | cut -d' ' -f1)"
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$recipe" ]; then
  echo "league-env: installing the planner of ai-dynamo $VERSION into $env"
  mkdir -p "$(dirname "$env")"
  exec 9> "$env.lock"
  flock 9 # two callers at once must not install into each other; who waited finds the work done
  if [ "$(cat "$stamp" 2>/dev/null || true)" != "$recipe" ]; then
    [ -x "$env/bin/python" ] || "$PYTHON" -m venv "$env"
    "$UV" pip install -q --python "$env/bin/python" --no-deps --require-hashes -r "$LOCK"
    echo "$recipe" > "$stamp"
  fi
fi
echo "$env"
