"""Every method as Samba describes it: its ndrdump (package samba-testsuite) reads what we write, and writes it anew.

What comes out must be what went in, byte for byte. Where Samba's description is another one than the specification's,
the method is listed with the difference.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.unit.mscmrp.strategies import parameters_of

from quorate.mscmrp.interface import METHODS, AnyMethod

NDRDUMP: Final = shutil.which("ndrdump")
pytestmark = pytest.mark.skipif(NDRDUMP is None, reason="not installed: ndrdump (package samba-testsuite)")

_SHORT_BOOL: Final = "its BOOL has one byte"
DIFFERENT: Final[Mapping[int, str]] = {
    43: _SHORT_BOOL,
    61: _SHORT_BOOL,
    87: "its list of networks is one of numbers",
    102: "it writes the size of the version's structure itself",
    138: _SHORT_BOOL,
    139: "its notification has a pointer to the key",
    140: "its array of one pointer has none",
    142: "likewise",
}
SAME: Final = [method for number, method in sorted(METHODS.items()) if number not in DIFFERENT]
CALLS: Final = st.tuples(
    *(st.tuples(parameters_of(method.declaration.inputs), parameters_of(method.declaration.outputs)) for method in SAME)
)


def packed(method: AnyMethod, inputs: Any, outputs: Any) -> Iterator[tuple[str, bytes, bytes]]:
    request = method.declaration.inputs.pack(inputs)
    yield "in", request, b""
    yield "out", method.declaration.outputs.pack(outputs, method.declaration.inputs.values(inputs)), request


def dump(directory: Path, method: AnyMethod, way: str, data: bytes, request: bytes) -> str:
    """What ndrdump says to it; empty when it has read it and would write the same."""
    file, context = directory / f"{os.getpid()}.data", directory / f"{os.getpid()}.request"
    file.write_bytes(data)
    context.write_bytes(request)
    argv = [str(NDRDUMP), "--configfile=/dev/null", "--validate", "clusapi", str(method.opnum), way, str(file)]
    if way == "out":
        argv[1:1] = ["-c", str(context)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    is_same = done.returncode == 0 and "dump OK" in done.stdout and "WARNING" not in done.stdout
    return "" if is_same else done.stdout + done.stderr


@given(calls=CALLS)
@settings(
    max_examples=1,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_samba_reads_every_method_as_we_write_it(
    tmp_path_factory: pytest.TempPathFactory, calls: tuple[tuple[Any, Any], ...]
) -> None:
    directory = tmp_path_factory.getbasetemp()
    for method, (inputs, outputs) in zip(SAME, calls, strict=True):
        for way, data, request in packed(method, inputs, outputs):
            said = dump(directory, method, way, data, request)
            assert not said, (method.name, way, data.hex(), said)
