"""A real Kubernetes cluster on one machine, for tests and the demo: `python3 -m hack.localcluster --help`.

Standard library only: it runs before anything is installed. Tests use `hack.localcluster.api`.
"""
