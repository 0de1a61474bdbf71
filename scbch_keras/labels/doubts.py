"""The doubts of an audit one by one, as a table of pandas and as one of a notebook. Standard library and numpy only."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from scbch_keras.labels.audit import LabelAudit

SHOWN = 20
"""Doubts that a notebook shows."""


class Doubt(NamedTuple):
    """A label of a sample that may be wrong: given and spoken against, or not given and spoken for."""

    row: int
    id: str
    label: str
    kind: Literal["given", "missing"]
    evidence: float
    """What speaks for the label: the share of the neighbours that carry it, or its probability."""
    suspicion: float
    """Of the sample."""


def doubts_of(audit: "LabelAudit", threshold: float) -> Iterator[Doubt]:
    """All doubts, sample by sample, the most doubtful sample first; of a sample the given labels first."""
    for sample in audit.samples(audit.suspects(None), threshold):
        for label, evidence in sample.contradicted:
            yield Doubt(sample.row, sample.id, label, "given", evidence, sample.suspicion)
        for label, evidence in sample.suggested:
            yield Doubt(sample.row, sample.id, label, "missing", evidence, sample.suspicion)


def frame_of(audit: "LabelAudit", threshold: float) -> Any:
    """The samples as a pandas DataFrame. Raises ImportError where pandas is not installed."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            f"a DataFrame needs pandas, which cannot be imported ({error}): pip install pandas"
        ) from error
    order = audit.suspects(None)
    samples = list(audit.samples(order, threshold))

    def names(field: str) -> list[tuple[str, ...]]:
        return [tuple(label for label, _ in getattr(sample, field)) for sample in samples]

    columns = {
        "row": order,
        "confidence": np.asarray(audit.confidence)[order],
        "suspicion": audit.suspicion[order],
        "labels": names("given"),
        "contradicted": names("contradicted"),
        "suggested": names("suggested"),
    }
    return pd.DataFrame(columns, index=pd.Index([sample.id for sample in samples], name="id"))


def html_of(audit: "LabelAudit", threshold: float = 0.5) -> str | None:
    """A table of the first `SHOWN` doubts, as a notebook shows it; None where Jinja2 is not installed."""
    try:
        from scbch_keras.templates import html_templates
    except ImportError:
        return None
    return (
        html_templates(Path(__file__).parent / "templates")
        .get_template("doubts.html")
        .render(
            samples=len(audit),
            wrong=int(audit.contradicted(threshold).sum()),
            missing=int(audit.suggested(threshold).sum()),
            doubts=list(islice(doubts_of(audit, threshold), SHOWN)),
        )
    )
