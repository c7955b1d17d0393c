"""Runs kopf and the process: watches, the queue, lists, ticks, the Lease, health."""
