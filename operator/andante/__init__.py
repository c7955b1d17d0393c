"""Andante serves LLMs on Kubernetes by the users' quality of experience."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("andante")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0.0.0+source"
