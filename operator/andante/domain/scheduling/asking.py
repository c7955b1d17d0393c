"""When a policy is asked, and how often it is told of what changes: one set of numbers for engine and simulator.

In the engine `andante_vllm.decisions`, `scheduler_view` and `step_books` use them.
"""

from __future__ import annotations

from typing import Final

STANDING_STEPS: Final = 8
"""Steps for which a plan without an admission is kept, while no change could allow an admission."""
LOOKED_UP_EACH_STEP: Final = 8
"""Requests whose part in the prefix cache is looked up again after a decision."""
TIGHT_BLOCKS: Final = 2
"""With fewer free KV blocks than so many for each running request and kind of attention, memory may be scarce."""
TIGHT_STEP: Final = 0.7
"""With a predicted step longer than this share of the most demanding reader's time for a token, time may be scarce."""
FIT_EVERY: Final = 16
"""Of the plain decode steps, one in so many is taken into the fit of the step time."""
