"""What the commands around a run print of its data and its metrics."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scbch_keras.modalities import DIRECTIONS
from scbch_keras.safe_text import terminal


def show_sources(console: Console, data: Any) -> None:
    """Print what was loaded: files, checksums, shapes, rows."""
    lines = [
        f"{data.title}: {len(data.train):,} training pairs, {len(data.query):,} queries, "
        f"{len(data.database):,} in the database, {data.train.labels.shape[1]} labels"
    ]
    for source in data.sources:
        arrays = ", ".join(f"{key} {shape}" for key, shape in source.arrays.items())
        lines.append(f"  {source.name}  sha256 {source.sha256[:16]}  {arrays}")
    lines += [f"  {name}: {note}" for name, note in data.notes.items()]
    for line in lines:
        console.print(terminal(line), markup=False, highlight=False)


def show_metrics(console: Console, metrics: dict[str, Any], data: dict[str, Any]) -> None:
    """Print the metrics of both directions; a run holds those of the version that trained it."""
    from scbch_keras.training.runs.evaluate import metric_rows

    table = Table(title=Text(terminal(f"{data['title']}, last epoch")), title_justify="left")
    table.add_column("metric")
    for modalities in DIRECTIONS.values():
        table.add_column(" to ".join(modalities), justify="right")
    for title, values in metric_rows(metrics):
        table.add_row(title, *(f"{value:.4f}" for value in values))
    console.print(table)
