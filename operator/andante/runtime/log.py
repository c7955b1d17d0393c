"""Sets up the operator's log: text for people, or one JSON object a line for a log store."""

from __future__ import annotations

import logging
import sys
from typing import Final, Literal

from pythonjsonlogger.json import JsonFormatter

LogFormat = Literal["text", "json"]
_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def _json() -> logging.Formatter:
    """One object a line: time, level, logger, message, exception, and the fields that a caller gave as `extra`."""
    return JsonFormatter(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
        timestamp="time",
        json_ensure_ascii=False,
    )


def set_up(log_format: LogFormat = "text", *, verbose: bool = False) -> None:
    """Log to standard error. `verbose`: also what each watch event does."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_json() if log_format == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("kopf").setLevel(logging.DEBUG if verbose else logging.WARNING)
    # At DEBUG these loggers print headers, and so the token.
    for name in ("kubernetes", "urllib3", "aiohttp"):
        logging.getLogger(name).setLevel(logging.WARNING)
