"""A virtual world in which the brains of `cluster/` and `migration/` run as they are, with no clock, thread or loop."""
