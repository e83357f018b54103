"""How far a migration is, in the form that every face shows and a client follows."""

from dataclasses import dataclass
from typing import Self

from quorate.clusapi.json_types import JsonObject, JsonValue, json_flag, json_float, json_int, json_text
from quorate.clusapi.states import MigrationState


@dataclass(frozen=True, slots=True)
class MigrationProgress:
    """One look at a migration. Bytes are bytes, rates are bytes per second, times are seconds."""

    state: MigrationState
    percent: int = 0  # MigrationProgress: 100 after success until the next start
    failure_reason: int = 0  # an HRESULT
    queued: bool = False
    session: str = ""
    source: str = ""  # node names
    destination: str = ""
    phase: str = ""  # a word for people: preparing, copying, stopped, handing over, done, cancelled, failed
    passes: int = 0
    total: int = 0
    remaining: int = 0
    rate: float = 0.0
    dirty_rate: float = 0.0
    time_left: float | None = None  # None: cannot be told
    elapsed: float = 0.0
    transport: str = ""  # how memory is sent, in a few words
    sentence: str = ""

    @property
    def is_running(self) -> bool:
        """Answer whether it is still on its way (or waits in the queue)."""
        return self.state in (MigrationState.SETUP, MigrationState.DATA_TRANSFER, MigrationState.MOVE)

    def to_json(self) -> dict[str, JsonValue]:
        """Write it as the faces show it."""
        return {
            "migration_state": int(self.state),
            "migration_state_name": self.state.name,
            "percent": self.percent,
            "failure_reason": self.failure_reason,
            "queued": self.queued,
            "session": self.session,
            "source": self.source,
            "destination": self.destination,
            "phase": self.phase,
            "passes": self.passes,
            "total": str(self.total),
            "remaining": str(self.remaining),
            "rate": self.rate,
            "dirty_rate": self.dirty_rate,
            "time_left": self.time_left,
            "elapsed": self.elapsed,
            "transport": self.transport,
            "sentence": self.sentence,
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read it back; what is missing is empty."""
        return cls(
            state=MigrationState(json_int(value, "migration_state")),
            percent=json_int(value, "percent"),
            failure_reason=json_int(value, "failure_reason"),
            queued=json_flag(value, "queued"),
            session=json_text(value, "session"),
            source=json_text(value, "source"),
            destination=json_text(value, "destination"),
            phase=json_text(value, "phase"),
            passes=json_int(value, "passes"),
            total=json_int(value, "total"),
            remaining=json_int(value, "remaining"),
            rate=json_float(value, "rate"),
            dirty_rate=json_float(value, "dirty_rate"),
            time_left=None if value.get("time_left") is None else json_float(value, "time_left"),
            elapsed=json_float(value, "elapsed"),
            transport=json_text(value, "transport"),
            sentence=json_text(value, "sentence"),
        )
