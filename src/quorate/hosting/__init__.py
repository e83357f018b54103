"""The hosting of resources on one node: what they promise, who calls them, and what happens when they do not answer."""
