"""Connects to the outside: the Kubernetes API, Prometheus, engine pods, the clock. Each adapter implements a protocol
of andante.ports."""
