"""Holds the engine side, the only code that imports vLLM: scheduler, delivery meter, virtual GPU, server start."""
