"""Importing this module waits for the compilation that `andante-engine` began beside the engine's start, if any.

The scheduler imports it before the policy, whose import would compile the policy a second time.
"""

from andante_vllm.compilation import wait

WAITED_SECONDS = wait()
