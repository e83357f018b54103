"""What holds for every test."""

import signal

from hypothesis import HealthCheck, settings
from tests.system.soak import soaking

# A shell starts what runs in its background with SIGINT ignored, and so would every process be that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes, or takes to be made, says more about the machine than about what is tested.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# What runs for every commit tries a few dozen examples, the same each time, so that a commit is judged by what it
# changes; `make soak` tries a thousand, and others each time.
settings.register_profile("commit", UNHURRIED, max_examples=40, derandomize=True)
settings.register_profile("soak", UNHURRIED, max_examples=1000)
settings.load_profile("soak" if soaking() else "commit")
