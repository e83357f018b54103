"""Serves the operations of the API: access check, routing to the owner, handlers, and the faces that speak HTTP."""
