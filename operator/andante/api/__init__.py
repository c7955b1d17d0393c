"""Defines the custom resource: pydantic models, the single source of the CRD, its defaults, rules and reference."""
