"""Implements the `andante` command. It is thin: the domain computes the figures."""
