"""What people type. ``main`` is the entry point; each command is a module of its own, loaded when it is used."""
