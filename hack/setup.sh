#!/usr/bin/env bash
# Makes .venv with the locked dependencies and this tree installed in it. Needs Python 3.11 or newer: python3, or the one
# that ANDANTE_PYTHON names. As root on Debian and Ubuntu it installs python3 where it is missing, otherwise it says so.
#   hack/setup.sh             make .venv
#   hack/setup.sh --python    only see to it that there is a Python
set -euo pipefail
cd "$(dirname "$0")/.."
python="${ANDANTE_PYTHON:-python3}"

refuse() { printf 'setup: %s\n  to fix it: %s\n' "$1" "$2" >&2; exit 2; }

refuse_old() { # a Python that is there and too old cannot be fixed by its own packages
  local version
  version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2]); sys.exit(sys.version_info < (3, 11))' 2>/dev/null)" && return 0
  [ -z "$version" ] || refuse "$python is Python $version, and Andante needs 3.11, 3.12 or 3.13" \
    "Debian 12 or 13, or Ubuntu 24.04, whose python3 is new enough; or name another: ANDANTE_PYTHON=/path/to/python3.12 make ..."
}

refuse_old
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && [ -z "${ANDANTE_PYTHON:-}" ] && command -v apt-get >/dev/null; then
    echo "setup: installing python3 with venv and pip" >&2
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3 python3-venv python3-pip >/dev/null
    refuse_old
  else
    refuse "$python with the modules venv and ensurepip is missing" \
      "on Debian and Ubuntu: sudo apt-get install python3 python3-venv python3-pip"
  fi
fi
[ "${1:-}" = --python ] && exit 0

[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install -q --disable-pip-version-check uv
echo "setup: installing the locked dependencies into .venv"
.venv/bin/uv pip install -q --python .venv/bin/python --require-hashes -r requirements.lock
.venv/bin/uv pip install -q --python .venv/bin/python --no-deps -e .
echo "setup: done"
