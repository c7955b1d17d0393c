"""These tests run vLLM's classes in their own process."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # torch deprecates parts of itself while it is imported; a warning in a test still is an error.
    warnings.simplefilter("ignore")
    import vllm.v1.core.sched.scheduler  # noqa: F401
