"""These tests build vLLM's server in their own process."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # torch deprecates parts of itself while it is imported; a warning in a test still is an error.
    warnings.simplefilter("ignore")
    import vllm.entrypoints.launchers.app
    import vllm.entrypoints.launchers.cli_args  # noqa: F401
