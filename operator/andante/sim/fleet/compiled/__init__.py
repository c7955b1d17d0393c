"""The compiled part of a fleet. A folder of its own: a change to any other file of the fleet compiles nothing anew."""
