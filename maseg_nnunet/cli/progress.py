"""A line on stderr that counts files while a command runs."""

from __future__ import annotations

import time


class FileCounter:
    """Counts files and shows their rate; the total is not known in advance. Use it as a context manager.

    Nothing is shown unless stderr is a terminal.

    Args:
        waiting: Text until the first file is counted.
        unit: What is counted, in the plural.
    """

    def __init__(self, waiting: str, unit: str = "files") -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
        console = Console(stderr=True)
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(waiting, total=None)
        self._unit = unit
        self._begin = time.monotonic()
        self._count = 0

    def __enter__(self) -> FileCounter:
        self._bar.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._bar.stop()

    def advance(self) -> None:
        """Count one file."""
        self._count += 1
        rate = self._count / max(time.monotonic() - self._begin, 1e-3)
        self._bar.update(self._task, description=f"{self._count} {self._unit}, {rate:.1f} per second")

    def show(self, line: str) -> None:
        """Print a line above the counter."""
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
