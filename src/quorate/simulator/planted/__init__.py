"""Faults planted into the brains, a rule of DESIGN.md §4 at a time: who does not find them proves nothing."""
