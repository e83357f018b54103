"""Every quorate command in the guide to ClusAPI is one that there is, with options that it takes."""

import re
import shlex
from pathlib import Path

import pytest

from quorate.cli.app import build_app
from quorate.cli.session import take_global_options

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guide" / "clusapi.md"


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("quorate ")]
    return [shlex.split(line)[1:] for line in lines]


@pytest.mark.usefixtures("fresh_session")
def test_the_commands_of_the_guide_can_be_typed() -> None:
    found = commands()
    assert len(found) > 9
    app = build_app()
    for command in found:
        rest = take_global_options(command)
        app.parse_args(rest, exit_on_error=False, print_error=False)
