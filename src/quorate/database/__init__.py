"""The cluster database: a registry tree with transactions and watches, over exchangeable store engines."""
