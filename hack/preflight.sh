#!/usr/bin/env bash
# Says in the first second why `make demo` or `make install-local` cannot work here; takes their arguments.
set -euo pipefail
cd "$(dirname "$0")/.."
for argument; do # the option is explained, and nothing else happens
  case "$argument" in -h | --help) exit 0 ;; esac
done
hack/setup.sh --python
exec "${ANDANTE_PYTHON:-python3}" -m hack.localcluster preflight "$@"
