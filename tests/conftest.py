"""What holds for every test."""

import signal

# A shell starts what runs in its background with SIGINT ignored, and so would every process be that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
