"""Lets a few services at a time replace their pods when a change of the operator's own alters the pods of all."""
