"""Checks of the users of other machines: certificates that people have to renew."""

from datetime import timedelta

from quorate.database.credentials import expires_soon
from quorate.server.validation.facts import Situation
from quorate.server.validation.findings import Finding, Verdict, count, or_well


def check_users(situation: Situation) -> tuple[Finding, ...]:
    """Nobody renews a user's certificate but people: they are told in time. Nothing to say where there are no users."""
    rule, found = "users", []
    for user in situation.users:
        if not expires_soon(user, situation.now):
            continue
        left = user.not_after - situation.now
        tense = "expired" if left <= timedelta(0) else "expires"
        sentence = f"The certificate of the user {user.name} {tense} on {user.not_after:%Y-%m-%d}."
        remedy = f"quorate user add {user.name} --role {user.role} --replace --out DIR"
        found.append(Finding(rule, Verdict.WARNING, count(left.days, "day"), sentence, remedy))
    if not situation.users:
        return ()
    return or_well(found, rule, count(len(situation.users), "user"), "Every user's certificate is good for a while.")
