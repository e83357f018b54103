"""The brains of a live migration: who copies, who stops, who owns, who runs. Pure: they wait for and touch nothing."""
