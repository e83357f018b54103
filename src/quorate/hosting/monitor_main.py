"""The monitor process: holds the resources of third parties' types, so that what they do harms nobody else.

Started by :mod:`quorate.hosting.monitor` with one end of a socket pair; speaks what
:mod:`quorate.hosting.monitor_messages` defines. Every call runs on a thread of its own: a type that blocks keeps that
thread, and nothing but that. Types are imported here and nowhere else.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import entry_points

from quorate.clusapi.errors import CallerError, ClusterError, FaultError
from quorate.clusapi.identity import ResourceId
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.states import ResourceState, ResourceStatus
from quorate.clusapi.status import Status
from quorate.hosting import monitor_messages as messages
from quorate.hosting.resource_type import ENTRY_POINT_GROUP, EntryPoints, ReportStatus
from quorate.hosting.shared_deadline import SharedDeadline

_LAST_TERMINATE = 10.0  # seconds that a resource has to stop when the daemon has died
_LOOK_EVERY = 0.2  # seconds between two looks at the deadline


class Types:
    """Finds, imports and makes each resource type once; one whose import hangs keeps nobody from the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loading: dict[str, threading.Lock] = {}
        self._made: dict[str, EntryPoints] = {}

    def find(self, name: str) -> EntryPoints:
        """The type of that name, without regard to case. Raises ClusterError when there is none or it cannot load."""
        key = name.casefold()
        made = self._made.get(key)
        if made is not None:
            return made
        with self._lock:
            loading = self._loading.setdefault(key, threading.Lock())
        with loading:
            if key not in self._made:
                self._made[key] = _load(name)
            return self._made[key]


def _load(name: str) -> EntryPoints:
    for found in entry_points(group=ENTRY_POINT_GROUP):
        if found.name.casefold() == name.casefold():
            made: EntryPoints = found.load()()
            return made
    raise CallerError(
        Status.ERROR_CLUSTER_RESOURCE_TYPE_NOT_FOUND,
        f"no installed package has an entry point {name!r} in the group {ENTRY_POINT_GROUP}",
    )


class Operations:
    """Which call may still report for a resource, and which resources are online."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: dict[ResourceId, int] = {}
        self._online: dict[ResourceId, str] = {}

    def begin(self, resource_id: ResourceId, call: int) -> None:
        """From now on only ``call`` reports for the resource."""
        with self._lock:
            self._current[resource_id] = call

    def is_current(self, resource_id: ResourceId, call: int) -> bool:
        """Answer whether the work of ``call`` shall go on."""
        with self._lock:
            return self._current.get(resource_id) == call

    def end(self, resource_id: ResourceId) -> None:
        """Nobody reports for the resource any more."""
        with self._lock:
            self._current.pop(resource_id, None)

    def note_online(self, resource_id: ResourceId, type_name: str | None) -> None:
        """Remember that the resource is online, or, without a type, that it is not."""
        with self._lock:
            if type_name is None:
                self._online.pop(resource_id, None)
            else:
                self._online[resource_id] = type_name

    def online(self) -> dict[ResourceId, str]:
        """What is online, with its type."""
        with self._lock:
            return dict(self._online)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an entry point of a resource."""

    number: int
    type_name: str
    type: EntryPoints
    resource_id: ResourceId
    arguments: messages.Message


class Server:
    """Reads calls and starts their threads until the daemon says goodbye or is gone."""

    def __init__(self, connection: socket.socket, deadline: SharedDeadline) -> None:
        """Take our end of the socket pair, and until when this node may run things."""
        self._connection = connection
        self._deadline = deadline
        self._sending = threading.Lock()
        self._types = Types()
        self._operations = Operations()
        self._handlers: Mapping[str, Callable[[Call], JsonValue]] = {
            "open": self._open,
            "close": self._close,
            "online": self._online,
            "offline": self._offline,
            "terminate": self._terminate,
            "looks_alive": self._looks_alive,
            "is_alive": self._is_alive,
            "resource_control": self._resource_control,
        }

    def watch(self) -> None:
        """End what is online whenever this node may run nothing any more; for ever, on a thread of its own."""
        while True:
            if self._deadline.is_over() and self._operations.online():
                self._terminate_all()
                if self._operations.online():
                    time.sleep(_LAST_TERMINATE)  # before it is tried again
            time.sleep(_LOOK_EVERY)

    def serve(self) -> None:
        """Serve until the end."""
        self._send({"ready": True})
        while (message := self._receive()) is not None:
            if "goodbye" in message:
                return
            threading.Thread(target=self._run, args=(message,), daemon=True).start()
        self._terminate_all()

    def _receive(self) -> messages.Message | None:
        header = self._receive_exactly(messages.HEADER.size)
        if header is None:
            return None
        data = self._receive_exactly(messages.parse_length(header))
        return None if data is None else messages.parse_message(data)

    def _receive_exactly(self, size: int) -> bytes | None:
        parts = bytearray()
        while len(parts) < size:
            try:
                part = self._connection.recv(size - len(parts))
            except ConnectionError:
                return None
            if not part:
                return None
            parts += part
        return bytes(parts)

    def _send(self, message: messages.Message) -> None:
        data = messages.pack_message(message)
        with self._sending:
            try:
                self._connection.sendall(data)
            except OSError:
                return  # the daemon is gone; the reading thread notices

    def _run(self, message: messages.Message) -> None:
        call = messages.number_of(message.get("call"))
        try:
            value = self._call(call, message)
        except ClusterError as error:
            self._send({"call": call, "status": int(error.status), "sentence": error.sentence})
        except (Exception, SystemExit) as error:  # noqa: BLE001 — the supervisor of strangers' code
            sentence = f"{message.get('type')} raised {type(error).__name__} in {message.get('entry')}: {error}"
            status = int(Status.ERROR_EXCEPTION_IN_RESOURCE_CALL)
            self._send({"call": call, "status": status, "sentence": sentence})
        else:
            try:
                self._send({"call": call, "value": value})
            except messages.BadMessage as error:
                sentence = f"what {message.get('type')} answers in {message.get('entry')} cannot be sent: {error}"
                self._send({"call": call, "status": int(error.status), "sentence": sentence})

    def _call(self, call: int, message: messages.Message) -> JsonValue:
        type_name = messages.text_of(message.get("type"))
        entry = messages.text_of(message.get("entry"))
        arguments = messages.object_of(message.get("arguments"))
        type_ = self._types.find(type_name)
        if entry == "resource_type_control":
            code, data = messages.number_of(arguments.get("code")), messages.parse_data(arguments.get("data"))
            parameters = messages.parse_parameters(arguments.get("parameters"))
            return messages.pack_answer(type_.resource_type_control(code, data, parameters))
        handler = self._handlers.get(entry)
        if handler is None:
            raise FaultError(Status.ERROR_CLUSTER_INTERNAL_INVALID_FUNCTION, f"there is no entry point {entry!r}")
        resource_id = ResourceId(messages.text_of(message.get("resource")))
        return handler(Call(call, type_name, type_, resource_id, arguments))

    # --- Entry points ------------------------------------------------------------------------------------------

    def _open(self, call: Call) -> JsonValue:
        resource = messages.parse_opened(call.arguments.get("opened"))
        call.type.open(resource)
        if resource.was_online:
            self._operations.note_online(call.resource_id, call.type_name)
        return None

    def _close(self, call: Call) -> JsonValue:
        self._operations.end(call.resource_id)
        self._operations.note_online(call.resource_id, None)
        call.type.close(call.resource_id)
        return None

    def _online(self, call: Call) -> JsonValue:
        parameters = messages.parse_parameters(call.arguments.get("parameters"))
        if self._deadline.is_over():
            sentence = "this node holds no lease: nothing may come online here"
            raise FaultError(Status.ERROR_CLUSTER_NODE_NOT_MEMBER, sentence)
        self._operations.begin(call.resource_id, call.number)
        self._operations.note_online(call.resource_id, call.type_name)  # half online is to be terminated too
        return int(Status(call.type.online(call.resource_id, parameters, self._reporter(call))))

    def _offline(self, call: Call) -> JsonValue:
        request = messages.parse_offline_request(call.arguments.get("request"))
        self._operations.begin(call.resource_id, call.number)
        status = Status(call.type.offline(call.resource_id, request, self._reporter(call)))
        if status == Status.ERROR_SUCCESS:
            self._operations.note_online(call.resource_id, None)
        return int(status)

    def _terminate(self, call: Call) -> JsonValue:
        self._operations.end(call.resource_id)
        call.type.terminate(call.resource_id)
        self._operations.note_online(call.resource_id, None)
        return None

    def _looks_alive(self, call: Call) -> JsonValue:
        return bool(call.type.looks_alive(call.resource_id))

    def _is_alive(self, call: Call) -> JsonValue:
        return bool(call.type.is_alive(call.resource_id))

    def _resource_control(self, call: Call) -> JsonValue:
        code, data = messages.number_of(call.arguments.get("code")), messages.parse_data(call.arguments.get("data"))
        parameters = messages.parse_parameters(call.arguments.get("parameters"))
        return messages.pack_answer(call.type.resource_control(call.resource_id, code, data, parameters))

    def _reporter(self, call: Call) -> ReportStatus:
        def report(
            state: ResourceState,
            checkpoint: int,
            sentence: str,
            /,
            *,
            status: Status = Status.ERROR_SUCCESS,
            lacking: ResourceStatus = ResourceStatus.NORMAL,
        ) -> bool:
            if not self._operations.is_current(call.resource_id, call.number):
                return False
            if state == ResourceState.OFFLINE:
                self._operations.note_online(call.resource_id, None)
            self._send(
                {
                    "report": call.number,
                    "state": int(state),
                    "checkpoint": int(checkpoint),
                    "sentence": sentence,
                    "status": int(status),
                    "lacking": int(lacking),
                }
            )
            return True

        return report

    def _terminate_all(self) -> None:
        """Another node may take over, as the daemon died or its lease is over: nothing that is online may go on."""

        def terminate(resource_id: ResourceId, type_name: str) -> None:
            self._operations.end(resource_id)
            self._types.find(type_name).terminate(resource_id)
            self._operations.note_online(resource_id, None)

        _run_together([partial(terminate, *item) for item in self._operations.online().items()])


def _run_together(jobs: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_LAST_TERMINATE)


def main() -> None:
    """Serve the socket whose file descriptor is the first argument; that of the shared deadline is the second."""
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        server = Server(connection, SharedDeadline(int(sys.argv[2])))
        threading.Thread(target=server.watch, daemon=True).start()
        server.serve()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads that block must not keep the process


if __name__ == "__main__":
    main()
