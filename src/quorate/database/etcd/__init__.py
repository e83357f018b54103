"""The engine for several machines: a thin etcd v3 client of our own. Nothing here is imported before it is needed."""
