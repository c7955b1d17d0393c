"""Waits, when imported, for the compilation that `andante-engine` started beside the engine's start, if any.

The scheduler imports this module before the policy: the policy's import would compile the policy a second time.
"""

from andante_vllm.compilation import wait

WAITED_SECONDS = wait()
