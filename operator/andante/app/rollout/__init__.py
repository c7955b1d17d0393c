"""Lets a few services at a time replace their pods when a new operator or chart changes the pods of all services."""
