"""Which samples' labels are probably wrong, by their nearest neighbours or by a posterior. numpy only."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import one_of, share, whole
from scbch_keras.labels.audit_checks import check_ids, check_names, checked_numbers
from scbch_keras.labels.audit_csv import write_audit_csv
from scbch_keras.labels.doubts import Doubt, doubts_of, frame_of, html_of
from scbch_keras.labels.matrix import check_labels
from scbch_keras.labels.ranking import (
    AuditScore,
    Ranking,
    Reliability,
    auroc,
    precision_at,
    precision_at_wrong,
    ranking,
    ranks,
    reliability,
)

__all__ = [
    "AuditScore",
    "Doubt",
    "LabelAudit",
    "Order",
    "PosteriorAudit",
    "Ranking",
    "Reliability",
    "SampleAudit",
    "SoftLabel",
    "auroc",
    "precision_at",
    "precision_at_wrong",
    "reliability",
]

Order = Literal["suspicion", "confidence"]

# Added to soft labels before they are divided: about one neighbour of 20, the least that they can tell apart.
_ONE_NEIGHBOR = 0.05
_ALL = slice(None)


class SoftLabel(NamedTuple):
    """A label of a sample, and what speaks for it: the share of the neighbours that carry it, or its probability."""

    label: str
    soft: float


class SampleAudit(NamedTuple):
    """What an audit says of one sample."""

    row: int
    id: str
    confidence: float
    suspicion: float
    given: tuple[SoftLabel, ...]
    """In the order of `label_names`."""
    contradicted: tuple[SoftLabel, ...]
    """The given labels that are spoken against, the least likely first."""
    suggested: tuple[SoftLabel, ...]
    """Labels that are not given and are spoken for, the most likely first."""


@dataclass(frozen=True, eq=False)
class LabelAudit:
    """Samples with their labels, and what the labels of their nearest neighbours say of them.

    `scbch_keras.confidence_weights` gives confidence and soft labels. The arrays are kept as they are.

    Args:
        ids: (n,), numpy array of text, each once.
        confidence: (n,), finite numbers: how well the neighbours' labels agree with the sample's.
        labels: (n, C), 0/1 as given, possibly wrong.
        soft_labels: (n, C), finite: the similarity-weighted mean of the neighbours' labels, in [0, 1] where
            their similarities are not negative.
        label_names: C texts, each once.

    Raises:
        ValueError: an argument of another shape or kind; the message names it.
    """

    ids: NDArray[np.str_]
    confidence: NDArray[np.floating]
    labels: NDArray[Any]
    soft_labels: NDArray[np.floating]
    label_names: Sequence[str]

    def __post_init__(self) -> None:
        samples, classes = self._keep("labels", check_labels("labels", self.labels)).shape
        check_ids(self.ids, samples)
        self._keep("confidence", checked_numbers("confidence", self.confidence, (samples,)))
        self._keep("soft_labels", checked_numbers("soft_labels", self.soft_labels, (samples, classes)))
        check_names(self.label_names, classes)

    def _keep(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        object.__setattr__(self, name, values)
        return values

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def evidence(self) -> NDArray[np.floating]:
        """(n, C): what speaks for each label, here the soft labels."""
        return self.soft_labels

    @cached_property
    def base_rates(self) -> NDArray[np.float64]:
        """(C,), in [0, 1]: the share of samples to which each label is given."""
        return (self.labels != 0).mean(axis=0)

    @cached_property
    def suspicion(self) -> NDArray[np.float64]:
        """(n,), in (0, 1]: the higher, the more likely is a wrong label; it ranks better than confidence alone.

        The mean of two ranks, each over n and shared by ties: by confidence, lowest last; and by the odds
        (h + .05) / (m (g + .05)) of the best exchange of a single label, where g is the lowest soft label of
        the m given ones and h the highest of the others, both clipped to [0, 1]. m is there because the lowest
        of many is low by chance. Without a given label g = 0 and m = 1; without another h = 0.
        """
        present = self.labels != 0
        soft = np.clip(self.soft_labels, 0, 1).astype(np.float64)
        count = present.sum(axis=1)
        lowest = np.where(count > 0, soft.min(axis=1, where=present, initial=1), 0)
        highest = soft.max(axis=1, where=~present, initial=0)
        odds = (highest + _ONE_NEIGHBOR) / (np.maximum(count, 1) * (lowest + _ONE_NEIGHBOR))
        return (ranks(odds) + ranks(-self.confidence)) / (2 * len(self))

    def contradicted(
        self, threshold: float = 0.5, rows: slice | NDArray[np.integer] = _ALL
    ) -> NDArray[np.bool_]:
        """Which given labels the neighbours speak against.

        Those with soft label < threshold * base rate: by default, among the neighbours the label is less than half as
        frequent as among all samples. It is compared with the base rate since a rare label is rare among anyone's
        neighbours.

        Args:
            threshold: in (0, 1]; the lower, the fewer and the surer.
            rows: of the samples that are asked for; by default all n.

        Returns:
            (n, C), bool; of `rows` alone where they are named.

        Raises:
            ValueError: a threshold out of range.
        """
        _check_threshold(threshold)
        return (self.labels[rows] != 0) & (self.soft_labels[rows] < threshold * self.base_rates)

    def suggested(
        self, threshold: float = 0.5, rows: slice | NDArray[np.integer] = _ALL
    ) -> NDArray[np.bool_]:
        """Which labels that are not given the neighbours speak for.

        The mirror of `contradicted`: 1 - soft label < threshold * (1 - base rate). By default, to be without the label
        is less than half as frequent among the neighbours as among all samples.

        Args:
            threshold: in (0, 1]; the lower, the fewer and the surer.
            rows: of the samples that are asked for; by default all n.

        Returns:
            (n, C), bool; of `rows` alone where they are named.

        Raises:
            ValueError: a threshold out of range.
        """
        _check_threshold(threshold)
        return (self.labels[rows] == 0) & (1 - self.soft_labels[rows] < threshold * (1 - self.base_rates))

    def samples(self, rows: NDArray[np.integer], threshold: float = 0.5) -> Iterator["SampleAudit"]:
        """What the audit says of some samples, one after the other.

        Args:
            rows: (k,), of the samples, in the order wanted.
            threshold: as in `contradicted` and `suggested`.

        Yields:
            One `SampleAudit` a row.

        Raises:
            ValueError: a threshold out of range.
        """
        contradicted, suggested = self.contradicted(threshold, rows), self.suggested(threshold, rows)
        for place, row in enumerate(rows.tolist()):
            yield SampleAudit(
                row=row,
                id=str(self.ids[row]),
                confidence=float(self.confidence[row]),
                suspicion=float(self.suspicion[row]),
                given=self._named(row, self.labels[row] != 0),
                contradicted=self._named(row, contradicted[place], sign=1),
                suggested=self._named(row, suggested[place], sign=-1),
            )

    def suspects(self, limit: int | None = 100, by: Order = "suspicion") -> NDArray[np.int64]:
        """Rows of the most doubtful samples, those first; ties in the order of their ids.

        Args:
            limit: int >= 1, how many at most; None: all.
            by: "suspicion", the highest first; or "confidence", the lowest first.

        Returns:
            (min(limit, n),), int64.

        Raises:
            ValueError: limit or by is none of these.
        """
        limit = whole("limit", limit, 1, optional=True)
        one_of("by", by, ("suspicion", "confidence"))
        doubt = self.suspicion if by == "suspicion" else -self.confidence
        return np.lexsort((self.ids, -doubt))[:limit]

    def write_csv(
        self, path: str | os.PathLike[str], threshold: float = 0.5, by: Order = "suspicion"
    ) -> None:
        """Write all samples as CSV, the most doubtful first (rank 1).

        Columns id, confidence, suspicion, labels, contradicted, suggested, rank; UTF-8, comma, lines end with CR LF
        (RFC 4180). Labels stand as "sky;tree", doubts as "sky:0.0123;tree:0.0456", where a backslash goes before each
        backslash, semicolon and colon of a name. Text that a spreadsheet would run as a formula, or a terminal obey,
        is written as `safe_text.csv_cell` says; `safe_text.from_csv_cell` reads it back.

        Args:
            path: of the file; an existing one is replaced as a whole.
            threshold: as in `contradicted` and `suggested`.
            by: the order, as in `suspects`.

        Raises:
            ValueError: a threshold out of range, or another order.
        """
        write_audit_csv(self, Path(path), threshold, by)

    def doubts(self, threshold: float = 0.5) -> Iterator[Doubt]:
        """Every label that is doubted, the most doubtful sample first.

        Args:
            threshold: as in `contradicted` and `suggested`.

        Yields:
            One `Doubt` a label.

        Raises:
            ValueError: a threshold out of range.
        """
        return doubts_of(self, threshold)

    def to_pandas(self, threshold: float = 0.5) -> Any:
        """All samples as a DataFrame, the most doubtful first.

        Args:
            threshold: as in `contradicted` and `suggested`.

        Returns:
            With the ids as index and the columns row, confidence, suspicion, and as tuples of names labels,
            contradicted and suggested.

        Raises:
            ImportError: pandas is not installed.
            ValueError: a threshold out of range.
        """
        return frame_of(self, threshold)

    def _repr_html_(self) -> str | None:
        return html_of(self)

    def score(self, clean_labels: NDArray[Any]) -> AuditScore:
        """How well the audit finds what is wrong, where the true labels are known.

        Args:
            clean_labels: (n, C), 0/1.

        Returns:
            How the samples and the labels are ranked.

        Raises:
            ValueError: labels of another shape.
        """
        clean_labels = check_labels("clean_labels", clean_labels, self.labels.shape[1], rows=len(self))
        present, true = self.labels != 0, clean_labels != 0
        corrupted = (present != true).any(axis=1)
        return AuditScore(
            corrupted=corrupted,
            by_suspicion=ranking("sample", "corrupted", self.suspicion, corrupted),
            by_confidence=ranking("sample", "corrupted", -self.confidence, corrupted),
            given_labels=ranking("given label", "wrong", -self.evidence[present], ~true[present]),
            missing_labels=ranking(
                "label that is not given", "true", self.evidence[~present], true[~present]
            ),
        )

    def _named(self, row: int, chosen: NDArray[np.bool_], sign: int = 0) -> tuple[SoftLabel, ...]:
        columns = np.flatnonzero(chosen)
        soft = self.evidence[row, columns]
        order = np.argsort(sign * soft, kind="stable")
        return tuple(
            SoftLabel(self.label_names[column], float(value))
            for column, value in zip(columns[order].tolist(), soft[order].tolist(), strict=True)
        )


@dataclass(frozen=True, eq=False)
class PosteriorAudit(LabelAudit):
    """An audit by the probability that each label is true (`scbch_keras.labels.posterior`, or one's own).

    Args:
        probabilities: (n, C), in [0, 1]: that the label is truly there, given what the labels say.
    """

    probabilities: NDArray[np.floating]

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_numbers("probabilities", self.probabilities, self.labels.shape)
        self._keep("probabilities", check_labels("probabilities", self.probabilities, soft=True))

    @property
    def evidence(self) -> NDArray[np.floating]:
        """(n, C): the probabilities."""
        return self.probabilities

    @cached_property
    def suspicion(self) -> NDArray[np.float64]:
        """(n,), >= 0: the expected number of labels that are wrong or missing."""
        return np.abs(self.probabilities - (self.labels != 0)).sum(axis=1, dtype=np.float64)

    def contradicted(
        self, threshold: float = 0.5, rows: slice | NDArray[np.integer] = _ALL
    ) -> NDArray[np.bool_]:
        """Which given labels have a probability below a threshold.

        Args:
            threshold: in (0, 1]; the lower, the fewer and the surer.
            rows: of the samples that are asked for; by default all n.

        Returns:
            (n, C), bool; of `rows` alone where they are named.

        Raises:
            ValueError: a threshold out of range.
        """
        _check_threshold(threshold)
        return (self.labels[rows] != 0) & (self.probabilities[rows] < threshold)

    def suggested(
        self, threshold: float = 0.5, rows: slice | NDArray[np.integer] = _ALL
    ) -> NDArray[np.bool_]:
        """Which labels that are not given are missing with a probability above 1 - threshold.

        Args:
            threshold: in (0, 1]; the lower, the fewer and the surer.
            rows: of the samples that are asked for; by default all n.

        Returns:
            (n, C), bool; of `rows` alone where they are named.

        Raises:
            ValueError: a threshold out of range.
        """
        _check_threshold(threshold)
        return (self.labels[rows] == 0) & (1 - self.probabilities[rows] < threshold)

    def score(self, clean_labels: NDArray[Any]) -> AuditScore:
        """How well the audit finds what is wrong, and how reliable its probabilities are.

        Args:
            clean_labels: (n, C), 0/1.

        Returns:
            As of `LabelAudit.score`, with the reliability of the probabilities.

        Raises:
            ValueError: labels of another shape.
        """
        clean_labels = check_labels("clean_labels", clean_labels, self.labels.shape[1], rows=len(self))
        score = super().score(clean_labels)
        present, true = self.labels != 0, clean_labels != 0
        return replace(
            score,
            given_reliability=reliability(self.probabilities[present], true[present]),
            missing_reliability=reliability(self.probabilities[~present], true[~present]),
        )


def _check_threshold(threshold: Any) -> None:
    share("threshold", threshold, above=True)
