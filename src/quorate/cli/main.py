"""The entry point of ``quorate``.

A plain ``quorate status`` is answered without loading the command line parser, since people wait for it all day; and
``quorate node run`` becomes the daemon without it, since virtual machines wait for that.
"""

import os
import sys
from pathlib import Path

from quorate.cli import output
from quorate.cli.session import session, take_global_options
from quorate.clusapi.errors import ClusterError


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code."""
    try:
        code = run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:  # while an error was being told
        code = output.EXIT_INTERRUPTED
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run a command and return its exit code."""
    session.cluster = session.credentials = session.user = session.password_file = None
    session.json = False
    try:
        rest = take_global_options(arguments)
    except ValueError as error:
        return output.fail_usage(str(error))
    try:
        code = _dispatch(rest)
        sys.stdout.flush()
    except ClusterError as error:
        return output.fail(error)
    except KeyboardInterrupt:
        return output.EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read us has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return output.EXIT_SUCCESS
    return code


def _dispatch(arguments: list[str]) -> int:
    if arguments == ["status"]:
        from quorate.cli.commands.status import status

        return status()
    if arguments == ["node", "run"] or (arguments[:3] == ["node", "run", "--config"] and len(arguments) == 4):
        from quorate.cli.commands.members import run_

        return run_(config=Path(arguments[3]) if arguments[3:] else None)
    from quorate.cli.app import run_app

    return run_app(arguments)


if __name__ == "__main__":
    main()
