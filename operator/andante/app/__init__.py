"""Holds the use cases: reconcile and autoscale (gather, decide, apply), and a service's children as pure functions."""
