"""The table of an audit as CSV. Standard library only."""

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from scbch_keras.files import replaced
from scbch_keras.safe_text import csv_cell

if TYPE_CHECKING:
    from scbch_keras.labels.audit import LabelAudit, Order, SoftLabel

_COLUMNS = ("id", "confidence", "suspicion", "labels", "contradicted", "suggested", "rank")


def write_audit_csv(audit: "LabelAudit", path: Path, threshold: float, by: "Order") -> None:
    """Write all samples, as `LabelAudit.write_csv` says."""
    content = io.StringIO(newline="")
    writer = csv.writer(content)
    writer.writerow(_COLUMNS)
    for rank, sample in enumerate(audit.samples(audit.suspects(None, by), threshold), 1):
        writer.writerow(
            (
                csv_cell(sample.id),
                f"{sample.confidence:.6g}",
                f"{sample.suspicion:.6g}",
                csv_cell(";".join(_escaped(label) for label, _ in sample.given)),
                csv_cell(_with_soft(sample.contradicted)),
                csv_cell(_with_soft(sample.suggested)),
                rank,
            )
        )
    with replaced(path) as file:
        file.write(content.getvalue().encode())


def _escaped(name: str) -> str:
    return re.sub(r"([\\;:])", r"\\\1", name)


def _with_soft(labels: "tuple[SoftLabel, ...]") -> str:
    return ";".join(f"{_escaped(label)}:{soft:.4f}" for label, soft in labels)
