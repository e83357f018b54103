"""Credentials for a cluster on other machines: made here, so that the private key never travels."""

import json
from dataclasses import dataclass
from pathlib import Path

from quorate.client.address import CLUSTER_CA, CLUSTER_FILE, USER_CERTIFICATE, USER_KEY
from quorate.client.blocking import BlockingClient
from quorate.clusapi.errors import CallerError, FaultError
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.status import Status


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user who was certified, and where the credentials are."""

    name: str
    role: str
    cluster: str
    directory: Path
    not_after: str
    nodes: tuple[JsonObject, ...]
    """{id, name, http} of each node that has a door for other machines."""


def add_user(
    client: BlockingClient, name: str, role: str, directory: Path, *, days: int | None = None, replace: bool = False
) -> NewUser:
    """Make a key, have the cluster certify it for a user, and write all that a client needs to a directory.

    With ``replace`` a user who has a certificate gets another one, and credentials in the directory are written over.
    Raises ClusterError: 5010 for a user who is there, 183 for credentials that are there, 1117 when they cannot be
    written.
    """
    from quorate.peers.authority import new_request

    if (directory / USER_KEY).exists() and not replace:
        raise CallerError(
            Status.ERROR_ALREADY_EXISTS,
            f"{directory} holds credentials already; name another directory, or --replace them",
        )
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _not_written(directory, error) from error
    key, request = new_request(name)
    answer = client.call("IssueUserCertificate", name=name, role=role, request=request, days=days, replace=replace)
    nodes = answer.objects("nodes")
    description = {"version": 1, "name": answer.text("cluster"), "nodes": list(nodes)}
    files = {
        USER_KEY: key,
        USER_CERTIFICATE: answer.data("certificate"),
        CLUSTER_CA: answer.data("authority"),
        CLUSTER_FILE: (json.dumps(description, indent=2) + "\n").encode(),
    }
    _write(directory, files)
    return NewUser(name, role, answer.text("cluster"), directory, answer.text("not_after"), nodes)


def _write(directory: Path, files: dict[str, bytes]) -> None:
    from quorate.peers.identity import write_private

    try:
        for name, data in files.items():
            write_private(directory / name, data)
    except OSError as error:
        raise _not_written(directory, error) from error


def _not_written(directory: Path, error: OSError) -> FaultError:
    return FaultError(
        Status.ERROR_IO_DEVICE, f"the credentials could not be written to {directory}: {error.strerror or error}"
    )
