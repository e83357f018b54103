"""The resource type "Generic Script": an executable of the administrator's that starts, stops and checks something.

The script is called with the name of the entry point as its only argument: ``open``, ``online``, ``offline``,
``terminate``, ``looks_alive`` or ``is_alive``. Exit code 0 is success, or "yes". What it prints goes to the node's log.
Its environment says which resource it is called for: ``QUORATE_ENTRY_POINT``, ``QUORATE_RESOURCE_ID``,
``QUORATE_RESOURCE_NAME``, ``QUORATE_RESOURCE_TYPE``, ``QUORATE_GROUP_ID``, ``QUORATE_GROUP_NAME``; of the daemon's own
environment it sees ``PATH``, the locale and little else.

Whoever may set the property ScriptFilepath chooses what the node runs, so it names a file below the directory that the
node's configuration allows (``scripts_directory``), and nothing outside, whatever links lead there. Without that
directory no script runs.

``online`` and ``offline`` may take as long as PendingTimeout. A script must not leave anything running in its session
that is to outlive the monitor process (setsid).

This class lives in a monitor process; see ``quorate.hosting.resource_type``.
"""

import os
import stat
import subprocess
import threading
from pathlib import Path, PurePosixPath
from typing import Final

from quorate.clusapi.errors import CallerError, FaultError
from quorate.clusapi.identity import ResourceId
from quorate.clusapi.property_lists import PropertyFormat
from quorate.clusapi.states import ResourceState
from quorate.clusapi.status import Status
from quorate.hosting.contract import NOT_MINE, ControlAnswer, Parameters, PropertyScope
from quorate.hosting.property_codes import PropertyRequest, answer_from_table, request_of, stored_answer
from quorate.hosting.property_table import PropertyDefinition, PropertyTable
from quorate.hosting.resource_type import EntryPoints, OfflineRequest, OpenedResource, ReportStatus

SCRIPT_FILEPATH: Final = "ScriptFilepath"
SCRIPTS_DIRECTORY: Final = "scripts_directory"
"""The node's setting that says where scripts may be."""

PROPERTIES: Final = PropertyTable((PropertyDefinition(SCRIPT_FILEPATH, PropertyFormat.SZ, "", when_online=True),))

_PASSED_ON: Final = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ")
_ANSWER_WITHIN: Final = 0.25  # seconds; a script that takes longer is pending


def resolve_script(directory: str, name: str) -> Path:
    """The file that a script's name stands for.

    Raises CallerError 161 (ERROR_BAD_PATHNAME) for a name that leads out of the directory, 2 for a file that is not
    there, 5 for one that is no executable or that everybody may write, and 50 when the node allows no scripts.
    """
    if not directory:
        sentence = f"this node runs no scripts: its configuration names no {SCRIPTS_DIRECTORY}"
        raise CallerError(Status.ERROR_NOT_SUPPORTED, sentence)
    check_script_name(name)
    try:
        root = Path(directory).resolve(strict=True)
        path = (root / name).resolve(strict=True)
        mode = path.stat().st_mode
    except (OSError, RuntimeError) as error:
        raise CallerError(Status.ERROR_FILE_NOT_FOUND, f"script {name!r} is not in {directory}: {error}") from error
    if not path.is_relative_to(root):
        raise CallerError(Status.ERROR_BAD_PATHNAME, f"script {name!r} leads out of {directory}")
    if not stat.S_ISREG(mode) or not os.access(path, os.X_OK):
        raise CallerError(Status.ERROR_ACCESS_DENIED, f"script {name!r} is not an executable file")
    if mode & stat.S_IWOTH:
        raise CallerError(Status.ERROR_ACCESS_DENIED, f"script {name!r} may be written by everybody")
    return path


def check_script_name(name: str) -> None:
    """Refuse a name that is not a plain way down. Raises CallerError 161."""
    parts = PurePosixPath(name).parts
    if not parts or "\0" in name or PurePosixPath(name).is_absolute() or ".." in parts:
        sentence = f"{name!r} is not the name of a script below the node's {SCRIPTS_DIRECTORY}"
        raise CallerError(Status.ERROR_BAD_PATHNAME, sentence)


class GenericScript(EntryPoints):
    """Runs a script per entry point."""

    def __init__(self) -> None:
        """Begin without resources."""
        self._lock = threading.Lock()
        self._resources: dict[ResourceId, OpenedResource] = {}
        self._scripts: dict[ResourceId, Path] = {}  # as opened, or as of the latest online
        self._running: dict[ResourceId, subprocess.Popen[bytes]] = {}  # online or offline
        self._online: set[ResourceId] = set()

    def open(self, resource: OpenedResource) -> None:
        """Remember the resource; call the script if it has one already."""
        self._resources[resource.resource_id] = resource
        if resource.was_online:
            self._online.add(resource.resource_id)
        if PROPERTIES.text(resource.parameters, SCRIPT_FILEPATH):
            self._use(resource.resource_id, resource.parameters)

    def close(self, resource_id: ResourceId) -> None:
        """Forget the resource."""
        self._resources.pop(resource_id, None)
        self._scripts.pop(resource_id, None)
        self._online.discard(resource_id)

    def online(self, resource_id: ResourceId, parameters: Parameters, report: ReportStatus) -> Status:
        """Run the script; it is pending when that takes long."""
        self._use(resource_id, parameters)
        return self._run_pending(resource_id, "online", ResourceState.ONLINE, report)

    def offline(self, resource_id: ResourceId, request: OfflineRequest, report: ReportStatus) -> Status:
        """Run the script; it is pending when that takes long."""
        return self._run_pending(resource_id, "offline", ResourceState.OFFLINE, report)

    def terminate(self, resource_id: ResourceId) -> None:
        """Kill the script if it runs, and run it once more to stop what it may have started."""
        with self._lock:
            running = self._running.get(resource_id)
            if running is not None:
                running.kill()
        if resource_id not in self._scripts:
            return  # it was never called: there is nothing to stop
        self._online.discard(resource_id)
        self._expect_success("terminate", self._start(resource_id, "terminate").wait())

    def looks_alive(self, resource_id: ResourceId) -> bool:
        """Ask the script."""
        return self._start(resource_id, "looks_alive").wait() == 0

    def is_alive(self, resource_id: ResourceId) -> bool:
        """Ask the script."""
        return self._start(resource_id, "is_alive").wait() == 0

    def resource_control(
        self, resource_id: ResourceId, code: int, data: bytes | None, parameters: Parameters
    ) -> ControlAnswer:
        """Answer the private properties."""
        request = request_of(code, PropertyScope.PRIVATE)
        if request is None:
            return NOT_MINE
        if request not in (PropertyRequest.SET, PropertyRequest.VALIDATE):
            return answer_from_table(request, PROPERTIES, parameters, data)
        changes = PROPERTIES.parse_changes(data)
        self._check(resource_id, changes)
        if request is PropertyRequest.VALIDATE:
            return ControlAnswer(Status.ERROR_SUCCESS)
        return stored_answer(PROPERTIES, changes, is_online=resource_id in self._online)

    def resource_type_control(self, code: int, data: bytes | None, parameters: Parameters) -> ControlAnswer:
        """Nothing that the host does not answer as well."""
        return NOT_MINE

    # --- Scripts -----------------------------------------------------------------------------------------------

    def _check(self, resource_id: ResourceId, changes: Parameters) -> None:
        """Refuse a script that must not run; one that is not there yet may come."""
        wanted = changes.get(SCRIPT_FILEPATH)
        if wanted is None or wanted.value == "":
            return
        name = str(wanted.value)
        check_script_name(name)
        directory = self._resource(resource_id).settings.get(SCRIPTS_DIRECTORY, "")
        if directory and Path(directory, name).exists():
            resolve_script(directory, name)

    def _resource(self, resource_id: ResourceId) -> OpenedResource:
        try:
            return self._resources[resource_id]
        except KeyError:
            raise FaultError(Status.ERROR_RESOURCE_NOT_FOUND, f"resource {resource_id} is not open") from None

    def _use(self, resource_id: ResourceId, parameters: Parameters) -> None:
        """Take the script that the properties name, and open it if it is another one than before."""
        name = PROPERTIES.text(parameters, SCRIPT_FILEPATH)
        path = resolve_script(self._resource(resource_id).settings.get(SCRIPTS_DIRECTORY, ""), name)
        if self._scripts.get(resource_id) != path:
            self._scripts[resource_id] = path
            self._expect_success("open", self._start(resource_id, "open").wait())

    def _start(self, resource_id: ResourceId, entry: str) -> subprocess.Popen[bytes]:
        resource = self._resource(resource_id)
        path = self._scripts.get(resource_id)
        if path is None:
            raise CallerError(Status.ERROR_FILE_NOT_FOUND, f"resource {resource.name!r} has no script")
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {
            "QUORATE_ENTRY_POINT": entry,
            "QUORATE_RESOURCE_ID": resource.resource_id,
            "QUORATE_RESOURCE_NAME": resource.name,
            "QUORATE_RESOURCE_TYPE": resource.type_name,
            "QUORATE_GROUP_ID": resource.group_id,
            "QUORATE_GROUP_NAME": resource.group_name,
        }
        log = 2  # the monitor's standard error is the node's log
        try:
            return subprocess.Popen(
                [path, entry], stdin=subprocess.DEVNULL, stdout=log, env=environment, cwd=path.parent
            )
        except OSError as error:
            raise FaultError(Status.ERROR_GEN_FAILURE, f"script {path.name!r} could not start: {error}") from error

    def _run_pending(self, resource_id: ResourceId, entry: str, done: ResourceState, report: ReportStatus) -> Status:
        """Start the script and wait a moment; go on waiting on a thread, and report, when that is not enough."""
        process = self._start(resource_id, entry)
        with self._lock:
            self._running[resource_id] = process
        try:
            code = process.wait(_ANSWER_WITHIN)
        except subprocess.TimeoutExpired:
            worker = threading.Thread(target=self._wait, args=(resource_id, process, entry, done, report), daemon=True)
            worker.start()
            return Status.ERROR_IO_PENDING
        self._forget(resource_id, process, done if code == 0 else None)
        self._expect_success(entry, code)
        return Status.ERROR_SUCCESS

    def _wait(
        self,
        resource_id: ResourceId,
        process: subprocess.Popen[bytes],
        entry: str,
        done: ResourceState,
        report: ReportStatus,
    ) -> None:
        code = process.wait()
        self._forget(resource_id, process, done if code == 0 else None)
        if code == 0:
            report(done, 1, f"the script's {entry} has ended")
        else:
            report(ResourceState.FAILED, 1, _failure(entry, code))

    def _forget(self, resource_id: ResourceId, process: subprocess.Popen[bytes], reached: ResourceState | None) -> None:
        with self._lock:
            if reached is ResourceState.ONLINE:
                self._online.add(resource_id)
            elif reached is ResourceState.OFFLINE:
                self._online.discard(resource_id)
            if self._running.get(resource_id) is process:
                del self._running[resource_id]

    def _expect_success(self, entry: str, code: int) -> None:
        if code != 0:
            raise FaultError(Status.ERROR_RESOURCE_FAILED, _failure(entry, code))


def _failure(entry: str, code: int) -> str:
    return f"the script's {entry} ended " + (f"by signal {-code}" if code < 0 else f"with exit code {code}")
