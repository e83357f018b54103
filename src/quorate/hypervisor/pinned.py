"""What a guest can see of its host, fixed at its first start so that every node starts the same machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status

PINNED_SCHEMA: Final = 1


class Accelerator(StrEnum):
    """What executes guest code."""

    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True, slots=True)
class Pinned:
    """The part of a machine that must be the same on every node; JSON with a schema version.

    Fields of a newer version that this one does not know are kept in ``extra`` and written again.
    """

    machine_type: str
    accelerator: Accelerator
    cpu_model: str
    memory_bytes: int  # as really given: padded where the hypervisor needs it
    extra: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> str:
        """Write it down."""
        fields = {
            "schema": PINNED_SCHEMA,
            "machine_type": self.machine_type,
            "accelerator": self.accelerator.value,
            "cpu_model": self.cpu_model,
            "memory_bytes": self.memory_bytes,
        }
        return json.dumps({**self.extra, **fields}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Pinned:
        """Read it back; raises CallerError ERROR_INVALID_DATA when it is not what ``to_json`` writes."""
        try:
            fields = json.loads(text)
            known = {"schema", "machine_type", "accelerator", "cpu_model", "memory_bytes"}
            if not isinstance(fields["schema"], int) or fields["schema"] < 1:
                raise ValueError("schema is not a positive number")
            if not isinstance(fields["memory_bytes"], int) or fields["memory_bytes"] <= 0:
                raise ValueError("memory_bytes is not a positive number")
            return cls(
                machine_type=str(fields["machine_type"]),
                accelerator=Accelerator(fields["accelerator"]),
                cpu_model=str(fields["cpu_model"]),
                memory_bytes=fields["memory_bytes"],
                extra={key: value for key, value in fields.items() if key not in known},
            )
        except (ValueError, KeyError, TypeError) as error:
            raise CallerError(Status.ERROR_INVALID_DATA, f"the pinned hardware is unreadable: {error}") from error
