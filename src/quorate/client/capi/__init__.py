"""The C-shaped functions of ClusAPI by object; :mod:`quorate.client.functions` has them all."""
