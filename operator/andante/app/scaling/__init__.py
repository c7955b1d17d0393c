"""Measures each service and decides its replicas, once a tick."""
