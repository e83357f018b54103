"""``quorate validate``: one small function per check, each over plain facts, each with a sentence and a remedy.

:mod:`~quorate.server.validation.facts` says what the checks look at, :mod:`~quorate.server.validation.gather` asks for
it, :mod:`~quorate.server.validation.checks` lists them.
"""
