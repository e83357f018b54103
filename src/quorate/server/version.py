"""What this program tells clients of its version, its own and that of the API that it speaks."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

VENDOR: Final = "Quorate"
API_MAJOR, API_MINOR, API_BUILD = 10, 0, 14393  # what a client takes us for: the first release with all that we offer
FUNCTIONAL_LEVEL: Final = 10
NODE_VERSION: Final = FUNCTIONAL_LEVEL << 16 | API_BUILD
"""NodeHighestVersion and NodeLowestVersion: the level in the high word, the build in the low one."""


def program_version() -> str:
    """The version of the installed program, or "0" when it is not installed."""
    try:
        return version("quorate")
    except PackageNotFoundError:
        return "0"
