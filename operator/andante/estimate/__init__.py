"""Step-time profiles without a recorded run: which steps to ask an estimator about, and the profile that fits them.

Pure: who can estimate a step is told apart (`andante.cli.aiconfigurator`). `andante profile estimate` and
`make bench-estimate` use it.
"""
