"""The use cases: reconcile and autoscale (gather, decide, apply), and the children of a service as pure functions."""
