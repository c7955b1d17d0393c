"""Is `make demo`: a real cluster, a real vLLM on a virtual GPU, a trace with a surge, and a scaler that reacts."""
