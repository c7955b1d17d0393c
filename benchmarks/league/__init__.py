"""The league of scaling laws, and the programs of others that take part in it."""
