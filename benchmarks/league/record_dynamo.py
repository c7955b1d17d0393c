"""Records what ai-dynamo's planner decides on the histories of tests/unit/dynamo_histories.py, or compares with that.

Run it in the environment of `make league-env` (`make league-record`, `make league-check`).
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.metadata import version
from typing import Any

from benchmarks.league.dynamo import DynamoPlanner

from unit.dynamo_histories import BOUNDS, RECORDED, SEEDS, THEIRS, played


def decisions() -> dict[str, Any]:
    """The planner's version, and its decisions for each setting and seed."""
    found: dict[str, dict[str, list[int]]] = {}
    for name, settings in THEIRS.items():
        for seed in SEEDS:
            planner = DynamoPlanner(**BOUNDS, **settings)
            found.setdefault(name, {})[str(seed)] = played(planner, seed)
            planner.close()
    return {"version": version("ai-dynamo"), "decisions": found}


def main() -> int:
    """Return 0 when the file was written, or agrees with the planner; else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    check = parser.parse_args().check
    found = decisions()
    if not check:
        RECORDED.write_text(json.dumps(found) + "\n")
        print(f"wrote {RECORDED}")
        return 0
    same = json.loads(RECORDED.read_text()) == found
    print("the planner decides as recorded" if same else f"the planner decides otherwise than {RECORDED} says")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
