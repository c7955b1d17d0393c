"""Makes files from the models, at build time only. Code that runs in a cluster never imports this package."""
