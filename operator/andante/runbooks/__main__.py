"""Implements `python -m andante.runbooks ALERT`; without an argument it lists all."""

from __future__ import annotations

import sys

from andante.runbooks import NoRunbookError, headline, names, page


def main() -> None:
    """Print to standard output; status 2 for an unknown name."""
    if len(sys.argv) == 1:
        print("\n".join(f"{name}: {headline(name)}" for name in names()))
        return
    try:
        print(page(sys.argv[1]))
    except NoRunbookError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
