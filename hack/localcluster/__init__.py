"""Runs a real Kubernetes cluster on one machine, for tests and the demo: `python3 -m hack.localcluster --help`.

It needs the standard library only, because it runs before anything is installed. Tests use `hack.localcluster.api`.
"""
