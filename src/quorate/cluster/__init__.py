"""The brains that decide for groups: pure, like those of `migration`."""
