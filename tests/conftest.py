"""What holds for every test."""

import signal

from hypothesis import settings

# A shell starts what runs in its background with SIGINT ignored, and so would every process be that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more about the machine than about what is tested.
settings.register_profile("quorate", deadline=None)
settings.load_profile("quorate")
