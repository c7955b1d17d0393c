"""The `andante` command: thin, the figures come from the domain."""
