"""Who logs on to a cluster over MS-CMRP: a user and a password.

The password is never an argument of a command: it is in a file, or it is asked for. A user is ``NAME`` or
``DOMAIN\\NAME``; without a domain the server takes its own.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status

USER_ENVIRONMENT: Final = "QUORATE_USER"
PASSWORD_ENVIRONMENT: Final = "QUORATE_PASSWORD_FILE"


@dataclass(frozen=True, slots=True)
class Account:
    """A user with the password; it is not shown when this is printed."""

    user: str
    password: str = field(repr=False)
    domain: str = ""


def account_of(user: str | None = None, password: str | None = None, password_file: str | None = None) -> Account:
    """Put together who logs on: what is given, else what the environment names.

    Raises CallerError: 87 without a user or a password, 2 when the file cannot be read.
    """
    given = user or os.environ.get(USER_ENVIRONMENT)
    if not given:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER, f"a cluster at ncacn_ip_tcp: needs a user: --user, or ${USER_ENVIRONMENT}"
        )
    domain, _, name = given.rpartition("\\")
    return Account(name, _password(password, password_file), domain)


def has_password(password_file: str | None = None) -> bool:
    """Answer whether a password needs not be asked for."""
    return bool(password_file or os.environ.get(PASSWORD_ENVIRONMENT))


def _password(password: str | None, password_file: str | None) -> str:
    if password is not None:
        return password
    path = password_file or os.environ.get(PASSWORD_ENVIRONMENT)
    if not path:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER,
            f"a cluster at ncacn_ip_tcp: needs a password: --password-file, or ${PASSWORD_ENVIRONMENT}",
        )
    try:
        first, _, _ = Path(path).expanduser().read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise CallerError(Status.ERROR_FILE_NOT_FOUND, f"the password file {path} cannot be read: {reason}") from error
    if not (found := first.rstrip("\r")):
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"the first line of the password file {path} is empty")
    return found
