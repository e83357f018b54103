"""Operations on users' passwords: what is kept of one is its NT hash, made here; the password itself is forgotten."""

from datetime import UTC, datetime
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.events import EventKind
from quorate.clusapi.operation_values import Values
from quorate.clusapi.status import Status
from quorate.database.accounts import Account
from quorate.server.call import Call, done

SHORTEST: Final = 8
LONGEST: Final = 256
"""Characters of a password; no client of NTLM takes more."""
_LONGEST_NAME: Final = 64
_ROLES: Final = frozenset({"full", "read"})
_NOT_IN_NAMES: Final = frozenset('"/\\[]:;|=,+*?<>@%')
r"""Clients take some of them for the end of a name: DOMAIN\user, user@domain, user%password."""


async def add(call: Call) -> Values:
    """Give a user a password."""
    name, role = call.inputs.text("name"), call.inputs.text("role")
    _check_name(name)
    if role not in _ROLES:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f'the role "{role}" is neither full nor read')
    nt_hash = _hash_of(name, call.inputs.text("password"))
    event = call.event(
        EventKind.USER_PASSWORD,
        name,
        name,
        f'{call.context.actor} gave the user "{name}" a password and the role {role}',
        after={"role": role},
    )
    account = Account(name, role, nt_hash, datetime.now(UTC))
    await call.services.database.credentials.add_account(account, events=(event,))
    return done()


async def set_password(call: Call) -> Values:
    """Give a user who has a password another one."""
    name = call.inputs.text("name")
    nt_hash = _hash_of(name, call.inputs.text("password"))
    sentence = f'{call.context.actor} gave the user "{name}" another password'
    event = call.event(EventKind.USER_PASSWORD, name, name, sentence)
    await call.services.database.credentials.set_password(name, nt_hash, datetime.now(UTC), events=(event,))
    return done()


def _check_name(name: str) -> None:
    wrong = "".join(sorted(_NOT_IN_NAMES & set(name)))
    if wrong or len(name) > _LONGEST_NAME:
        reason = f"it holds {wrong}" if wrong else f"it has {len(name)} characters; 1 to {_LONGEST_NAME} are allowed"
        sentence = f"{name[:80]!r} cannot be the name of a user with a password: {reason}"
        raise CallerError(Status.ERROR_INVALID_NAME, sentence)


def _hash_of(name: str, password: str) -> bytes:
    """The NT hash of a password that keeps the rules. Raises CallerError 1325, which does not show the password."""
    from quorate.dcerpc.ntlm_crypto import nt_hash  # stands on a large library, which not every daemon needs

    if not SHORTEST <= len(password) <= LONGEST:
        reason = f"it has {len(password)} characters; {SHORTEST} to {LONGEST} are allowed"
    elif not password.isprintable():
        reason = "it holds a character that cannot be printed"
    elif password.casefold() == name.casefold():
        reason = "it is the user's name"
    else:
        return nt_hash(password)
    raise CallerError(Status.ERROR_PASSWORD_RESTRICTION, f"this cannot be a password: {reason}")
