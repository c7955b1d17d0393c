#!/usr/bin/env bash
# `make demo` as on a machine that was installed a minute ago: a Debian made by debootstrap, with nothing of Andante and
# none of its caches, in a mount and pid namespace of its own. Says how long it took and how much disk it filled.
#   hack/fresh_machine.sh trixie                    Debian 13
#   hack/fresh_machine.sh bookworm --docker         Debian 12, with a `docker` on PATH that answers
#   hack/fresh_machine.sh bookworm --dead-docker    Debian 12, with one that does not
# Root; 30 GB of disk below $ANDANTE_FRESH (/var/tmp/andante-fresh) while it runs, and 25 minutes. What it measures goes to
# benchmarks/results/first-hour.json, and docs/timings.md quotes that. The kernel is this machine's; certificates, and the
# settings of pip, apt and Go, are borrowed for as long as it runs, so that it works behind a proxy.
# ANDANTE_KEEP_FRESH=1 keeps the folder; ANDANTE_FRESH_COMMAND runs something else in it.
set -euo pipefail
cd "$(dirname "$0")/.."
release="${1:?a Debian release: bookworm or trixie}"; shift
docker=""
case "${1:-}" in
  "") ;;
  --docker) docker="a docker that answers" ;;
  --dead-docker) docker="a docker that does not answer" ;;
  *) echo "fresh_machine: $1: --docker or --dead-docker" >&2; exit 2 ;;
esac
flag="${1:-}"
base="${ANDANTE_FRESH:-/var/tmp/andante-fresh}"; root="$base/$release"
[ "$(id -u)" = 0 ] || { echo "fresh_machine: root is needed for debootstrap and the native node" >&2; exit 2; }
command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
mkdir -p "$base"; rm -rf --one-file-system "$root"
mirror="$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m1 '/debian/*$' || true)"
debootstrap --variant=minbase --include=ca-certificates,make,git "$release" "$root" "${mirror:-http://deb.debian.org/debian}" >"$base/$release.debootstrap.log"

git clone -q --no-hardlinks . "$root/root/andante"
git diff HEAD | git -C "$root/root/andante" apply --allow-empty # what is not committed yet belongs to it
mkdir -p "$root/etc/apt/apt.conf.d"
for file in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf /etc/resolv.conf /etc/hosts; do
  [ ! -f "$file" ] || cp -L "$file" "$root$file"
done
find /etc/apt/apt.conf.d -maxdepth 1 -name '*proxy*' -exec cp -L {} "$root/etc/apt/apt.conf.d/" \;
printf 'deb %s %s main\n' "${mirror:-http://deb.debian.org/debian}" "$release" > "$root/etc/apt/sources.list"
if [ "$flag" = --docker ]; then # it answers what the demo asks to find out whether it is there, and can do nothing
  printf '#!/bin/sh\ncase "$1" in version) echo 28.0.0 ;; info) echo "Server Version: 28.0.0" ;; *) echo "docker: $*: not on this machine" >&2; exit 1 ;; esac\n' > "$root/usr/bin/docker"
elif [ "$flag" = --dead-docker ]; then
  printf '#!/bin/sh\necho "Cannot connect to the Docker daemon. Is the docker daemon running?" >&2; exit 1\n' > "$root/usr/bin/docker"
fi
[ -z "$flag" ] || chmod +x "$root/usr/bin/docker"

borrowed=(); for name in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy SSL_CERT_FILE SSL_CERT_DIR \
  REQUESTS_CA_BUNDLE PIP_CERT PIP_INDEX_URL PIP_DEFAULT_TIMEOUT UV_DEFAULT_INDEX GOPROXY GOSUMDB GONOSUMDB GOFLAGS; do
  [ -z "${!name:-}" ] || borrowed+=("$name=${!name}")
done
before="$(du -sxB1 "$root" | cut -f1)"; started="$(date +%s)"
set +e
unshare --mount --propagation private --pid --fork --kill-child=SIGKILL bash -euo pipefail -c '
  root="$1"; shift
  mount --bind "$root" "$root"
  for name in sys dev; do mount --rbind "/$name" "$root/$name"; done
  mount -t proc proc "$root/proc"
  mount -t tmpfs tmpfs "$root/run"
  cd "$root"; mkdir -p .old; pivot_root . .old; umount -l /.old; rmdir /.old
  exec env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "$@" \
    bash -c "cd /root/andante && ${ANDANTE_FRESH_COMMAND:-make demo}; status=\$?; make cluster-down; exit \$status"
' fresh "$root" "${borrowed[@]}" 2>&1 | tee "$base/$release.log"
status="${PIPESTATUS[0]}"
set -e
seconds="$(( $(date +%s) - started ))"; filled="$(( $(du -sxB1 "$root" | cut -f1) - before ))"
cp "$root/root/andante/report.html" "$base/$release.report.html" 2>/dev/null || true
"${ANDANTE_PYTHON:-python3}" - "$release" "$docker" "$flag" "$status" "$seconds" "$filled" "$root" "$base/$release.log" <<'PY'
import json, pathlib, re, subprocess, sys
release, docker, flag, status, seconds, filled, root, log = sys.argv[1:]
file = pathlib.Path("benchmarks/results/first-hour.json")
known = json.loads(file.read_text()) if file.exists() else {}
folders = ("root/.cache/andante", "root/.cache/uv", "root/.cache/go-build", "root/go", "root/andante/.venv")
sizes = {
    f"/{name}": round(int(subprocess.run(["du", "-sxB1", f"{root}/{name}"], capture_output=True, text=True).stdout.split()[0]) / 2**30, 1)
    for name in folders if pathlib.Path(root, name).exists()
}
text = pathlib.Path(log).read_text(errors="replace")
built = {name: int(float(took)) for name, took in re.findall(r"built (\S+) in (\d+) s", text)}
steps = [{"step": what, "seconds": int(took)} for what, took in re.findall(r"==> (.+)\n(?:.*\n)*?    done in (\d+) s", text)]
python = subprocess.run(["chroot", root, "python3", "-V"], capture_output=True, text=True).stdout.split()
known[f"{release} with {docker}" if docker else release] = {
    "command": f"hack/fresh_machine.sh {release} {flag}".rstrip(),
    "exitStatus": int(status), "python": python[-1] if python else "none", "seconds": int(seconds),
    "diskGiB": round(int(filled) / 2**30, 1), "foldersGiB": sizes, "builtSeconds": built, "steps": steps,
}
file.write_text(json.dumps(dict(sorted(known.items())), indent=2) + "\n")
print(json.dumps(known, indent=1))
PY
[ "${ANDANTE_KEEP_FRESH:-}" = 1 ] || rm -rf --one-file-system "$root"
exit "$status"
