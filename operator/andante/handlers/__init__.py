"""Thin kopf handlers: a watch event becomes an entry of the world and a service to reconcile."""
