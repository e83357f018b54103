"""The brains of a live migration: who copies, who stops, who owns, who runs. Pure: they wait for nothing and touch nothing."""
