"""A live line with the progress of a migration."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from quorate.cli.commands.migrate import describe
from quorate.clusapi.progress import MigrationProgress


class MigrationBar:
    """Name, bar, and what :func:`describe` says; the bar never runs backwards, since the follower sees to that."""

    def __init__(self, name: str, console: Console) -> None:
        """Draw on this terminal."""
        self._progress = Progress(
            TextColumn("{task.fields[name]}", table_column=Column(no_wrap=True, max_width=20)),
            BarColumn(bar_width=16),
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            console=console,
        )
        self._task = self._progress.add_task("", total=100, name=name)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, progress: MigrationProgress) -> None:
        """Show one look at the migration."""
        self._progress.update(self._task, completed=progress.percent, description=describe(progress))
