"""The custom resource: pydantic models that are the one source of the CRD, its defaults, rules and reference."""
