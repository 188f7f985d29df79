"""The numbers of a run: `metrics.csv` and TensorBoard's event files, both continued when the run is."""

from __future__ import annotations

import csv
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.tensorboard import SummaryWriter
from typing_extensions import override

METRICS = "metrics.csv"


class RunLog(Logger):
    """Writes each row at once, so that a killed run loses none.

    Lightning's own CSV logger starts its file anew on resuming, and so forgets the run so far.
    """

    def __init__(self, run_dir: Path, from_step: int) -> None:
        """Rows after `from_step` are dropped: the run is continued from there and will write them again."""
        super().__init__()
        self._run_dir = run_dir
        self._from_step = from_step
        self._columns: list[str] = ["step"]
        self._events: SummaryWriter | None = None

    @property
    def name(self) -> str:
        return self._run_dir.name

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def start(self) -> None:
        """Open the files, once, in the process that writes them."""
        rows = [row for row in read_metrics(self._run_dir) if int(row["step"]) <= self._from_step]
        self._columns = list(dict.fromkeys(["step", *(name for row in rows for name in row)]))
        self._rewrite(rows)
        self._events = SummaryWriter(str(self._run_dir / "tensorboard"), purge_step=self._from_step + 1)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if step is None:
            raise ValueError("every row of a run belongs to a step")
        if self._events is None:
            self.start()
        assert self._events is not None
        new = [name for name in metrics if name not in self._columns]
        if new:
            self._columns += new
            self._rewrite(read_metrics(self._run_dir))
        with (self._run_dir / METRICS).open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow({"step": step, **metrics})
        for name, value in metrics.items():
            self._events.add_scalar(name, value, step)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's configuration stands in its config.yaml."""

    @override
    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        self._run_dir.mkdir(parents=True, exist_ok=True)
        partial = self._run_dir / f".{METRICS}.partial"
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(self._run_dir / METRICS)


def read_metrics(run_dir: Path) -> list[dict[str, str]]:
    """Rows of a run's metrics.csv, each with the columns it has a value for; a last row cut short is left out."""
    path = run_dir / METRICS
    if not path.is_file():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    return [{name: value for name, value in row.items() if value} for row in csv.DictReader(whole.splitlines())]
