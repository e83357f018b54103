"""The vocabulary that everyone shares: statuses, errors, states, control codes, property lists, operations, events.

Nothing is imported here: whoever needs a word imports the module that defines it, so that a short command does not load
tables it never looks at.
"""
