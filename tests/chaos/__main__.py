"""`make chaos`: see `python -m chaos --help`."""

from chaos.run import main

main()
