"""What this program tells clients of its version, its own and that of the API that it speaks."""

from typing import Final

import quorate

VENDOR: Final = "Quorate"
API_MAJOR, API_MINOR = 10, 0  # with API_BUILD what a client takes us for: the first release with all that we offer


def program_version() -> str:
    """The version of the program."""
    return quorate.__version__
