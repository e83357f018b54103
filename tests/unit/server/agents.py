"""A fence agent for tests: a small program that speaks as those of the package fence-agents do."""

from pathlib import Path

PROGRAM = """#!/bin/sh
# Notes what it was told; answers by a file that holds on, off, broken, wedged or slow.
here=$(dirname "$0")
while read -r line; do
  echo "$line" >> "$here/told"
  case $line in
    action=*) action=${line#action=} ;;
    plug=*) plug=${line#plug=} ;;
    password=*) password=${line#password=} ;;
  esac
done
power=$(cat "$here/$plug.power" 2>/dev/null || echo on)
case $power in
  broken) echo "ERROR: cannot log in with $password" >&2; exit 1 ;;
  wedged) [ "$action" = monitor ] || { echo "ERROR: the relay is stuck" >&2; exit 1; }; exit 0 ;;
  slow) sleep 100 ;;
esac
case $action in
  status) [ "$power" = off ] && exit 2; exit 0 ;;
  off|reboot) echo off > "$here/$plug.power"; exit 0 ;;
  monitor) exit 0 ;;
esac
exit 1
"""


class FakeAgent:
    """The program ``fence_fake`` in a directory, and the outlets that it switches."""

    NAME = "fence_fake"

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._directory = directory
        path = directory / self.NAME
        path.write_text(PROGRAM, encoding="utf-8")
        path.chmod(0o755)

    def set(self, plug: str, power: str) -> None:
        """What an outlet is: on, off, broken, wedged or slow."""
        (self._directory / f"{plug}.power").write_text(power, encoding="utf-8")

    def power(self, plug: str) -> str:
        return (self._directory / f"{plug}.power").read_text(encoding="utf-8").strip()

    def told(self) -> list[str]:
        """Every line that it was told, in order."""
        path = self._directory / "told"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
