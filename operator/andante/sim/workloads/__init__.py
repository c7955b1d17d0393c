"""Workloads for fleets: shapes of the request rate, and recordings with more or fewer readers."""
