"""The commands: one module per noun, one function per verb; the docstring is the help text."""
