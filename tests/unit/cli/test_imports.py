"""A command must start quickly: counted in modules, since seconds depend on the machine."""

import subprocess
import sys

import pytest

SERVER_SIDE = ("starlette", "uvicorn", "structlog", "qemu", "sqlite3", "quorate.server", "quorate.database")


def loaded(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    ("statement", "banned"),
    [
        ("import quorate.cli.main", ("asyncio", "cyclopts", "rich", *SERVER_SIDE)),
        ("import quorate.cli.commands.status", ("asyncio", "cyclopts", "rich", *SERVER_SIDE)),
        ("from quorate.cli.app import build_app; build_app()", SERVER_SIDE),
        ("import quorate.cli.commands.migrate", ("asyncio", *SERVER_SIDE)),
        ("import quorate.cli.commands.members", ("asyncio", "cyclopts", "rich", "cryptography", *SERVER_SIDE)),
        ("import quorate.cli.commands.backup", ("asyncio", "cyclopts", "rich", "cryptography", *SERVER_SIDE)),
        ("import quorate.client", ("asyncio",)),
        ("import quorate.client.functions", ("asyncio", *SERVER_SIDE)),
        ("from quorate.client import connect", SERVER_SIDE),
    ],
)
def test_a_command_loads_only_what_it_needs(statement: str, banned: tuple[str, ...]) -> None:
    modules = loaded(statement)
    packages = {module[:end] for module in modules for end in (*dots(module), len(module))}
    assert packages.intersection(banned) == set()


def dots(module: str) -> list[int]:
    return [index for index, character in enumerate(module) if character == "."]
