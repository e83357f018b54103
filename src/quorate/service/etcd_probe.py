"""A look at etcd before anything is built on it: who answers, whether certificates fit, quorum, clocks.

Over plain HTTPS, as etcd offers it beside gRPC (`/health`): what is wrong can be told apart there, and its answers
carry the member's own time.
"""

import asyncio
import http.client
import json
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from quorate.clusapi.errors import FaultError, RefusalError
from quorate.clusapi.status import Status
from quorate.database.etcd.settings import Endpoint, EtcdSettings
from quorate.service.clocks import check_offset

TIMEOUT: Final = 5.0
"""Seconds for a member's answer: it asks the others itself."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What one member said. ``why_not`` tells why there is no answer, or no healthy one; empty: it is well."""

    endpoint: Endpoint
    why_not: str = ""
    answered: bool = True
    certificates_fit: bool = True
    offset: float | None = None
    """Seconds by which its clock is ahead of ours, known to a second."""


async def check_etcd(settings: EtcdSettings) -> tuple[Probe, ...]:
    """Make sure that etcd can be used: one member at least is well, and no clock differs too much.

    Raises:
        CallerError: 87, the settings are wrong as they are written.
        RefusalError: 5059, certificates do not fit; 1398, clocks differ.
        FaultError: 1722, nobody answers; 5925, there is no quorum.
    """
    endpoints = settings.parsed()
    context = _context(settings) if endpoints[0].is_tls else None
    probes = await asyncio.gather(*(asyncio.to_thread(_probe, endpoint, context) for endpoint in endpoints))
    for probe in probes:
        if probe.offset is not None:
            check_offset(probe.offset, f"etcd's member {probe.endpoint}", resolution=1.0)
    if all(probe.why_not for probe in probes):
        raise _unusable(probes)
    if unfit := [probe for probe in probes if not probe.certificates_fit]:
        raise _unfit(unfit)
    return tuple(probes)


def _context(settings: EtcdSettings) -> ssl.SSLContext:
    settings.credentials()  # says which file cannot be read, or is no PEM
    try:
        context = ssl.create_default_context(cafile=settings.ca)
        if settings.cert is not None:
            context.load_cert_chain(settings.cert, settings.key)
    except (ssl.SSLError, OSError) as error:
        raise RefusalError(
            Status.ERROR_CLUSTER_NO_SECURITY_CONTEXT,
            f"etcd's certificates do not serve for TLS ({settings.ca}, {settings.cert}, {settings.key}): {error}; "
            "does the key belong to the certificate?",
        ) from error
    return context


def _probe(endpoint: Endpoint, context: ssl.SSLContext | None) -> Probe:
    connection = (
        http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=TIMEOUT)
        if context is None
        else http.client.HTTPSConnection(endpoint.host, endpoint.port, timeout=TIMEOUT, context=context)
    )
    try:
        asked = time.time()
        connection.request("GET", "/health")
        response = connection.getresponse()
        ours = (asked + time.time()) / 2
        return Probe(endpoint, _health(response.read()), offset=_offset(response.headers.get("Date"), ours))
    except ssl.SSLCertVerificationError as error:
        return Probe(endpoint, f"its certificate is not good: {error.verify_message}", certificates_fit=False)
    except ssl.SSLError as error:
        reason = "it hangs up" if isinstance(error, ssl.SSLEOFError) else error.reason
        return Probe(endpoint, f"it refuses our certificate ({reason})", certificates_fit=False)
    except TimeoutError:
        return Probe(endpoint, f"no answer within {TIMEOUT:.0f} s", answered=False)
    except OSError as error:
        return Probe(endpoint, error.strerror or str(error), answered=False)
    except http.client.HTTPException:
        return Probe(endpoint, "what answers there is not etcd", answered=False)
    finally:
        connection.close()


def _health(body: bytes) -> str:
    try:
        said = json.loads(body)
    except ValueError:
        return "what answers there is not etcd"
    if not isinstance(said, dict) or "health" not in said:
        return "what answers there is not etcd"
    return "" if str(said["health"]) == "true" else str(said.get("reason") or "it has no quorum")


def _offset(date: str | None, ours: float) -> float | None:
    try:
        return None if date is None else parsedate_to_datetime(date).timestamp() + 0.5 - ours  # seconds are cut off
    except ValueError:
        return None


def _unusable(probes: Sequence[Probe]) -> FaultError | RefusalError:
    said = _said(probes)
    if unfit := [probe for probe in probes if not probe.certificates_fit]:
        return _unfit(unfit)
    if any(probe.answered for probe in probes):
        return FaultError(
            Status.ERROR_CLUSTER_NO_QUORUM,
            f"etcd has no quorum, nothing can be written ({said}); bring more than half of its members back",
        )
    return FaultError(Status.RPC_S_SERVER_UNAVAILABLE, f"no member of etcd answers ({said})")


def _unfit(probes: Sequence[Probe]) -> RefusalError:
    return RefusalError(
        Status.ERROR_CLUSTER_NO_SECURITY_CONTEXT,
        f"the certificates for etcd do not fit ({_said(probes)}); --etcd-ca is who signed its members' certificates, "
        "--etcd-cert and --etcd-key are a client's pair that it accepts",
    )


def _said(probes: Sequence[Probe]) -> str:
    """What members said, those of one opinion together."""
    opinions: dict[str, list[str]] = {}
    for probe in probes:
        opinions.setdefault(probe.why_not, []).append(str(probe.endpoint))
    return "; ".join(f"{', '.join(endpoints)}: {opinion}" for opinion, endpoints in opinions.items())
