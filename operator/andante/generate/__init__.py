"""Build time only: files that are made from the models. Nothing that runs in a cluster imports it."""
