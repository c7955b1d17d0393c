"""Tools for people who work on Andante: the local cluster, the demo, the test runner. Never part of an image."""
