"""The label audit of a finished run, or of data: a table, a page, and a score where the true labels are known."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import one_of, whole
from scbch_keras.labels.audit import AuditScore, LabelAudit, PosteriorAudit, Ranking, Reliability
from scbch_keras.labels.posterior import LabelPosterior, ProposedBy, estimate, propose
from scbch_keras.stored import write_json
from scbch_keras.training.data.own.arrays import ArrayPairs
from scbch_keras.training.data.own.checked import proposal_in_words, read_checked, write_proposal
from scbch_keras.training.data.own.fixed_data import data_file
from scbch_keras.training.data.own.groups import agreeing
from scbch_keras.training.data.own.pictures import RawPairs
from scbch_keras.training.data.own.read import read_own
from scbch_keras.training.data.pairs import RetrievalData
from scbch_keras.training.features.cache import extract
from scbch_keras.training.features.images import image_backbone
from scbch_keras.training.pages.audit_page import RANKED, write_audit_page
from scbch_keras.training.runs.folder import POSTERIOR, RunFolder
from scbch_keras.training.runs.open_data import open_data
from scbch_keras.training.runs.own_audit import FEWEST_ROWS, audit_own, groups_of

By = Literal["posterior", "neighbours"]
PROPOSED = "check.csv"


@dataclass(frozen=True)
class AuditedRun:
    """What an audit wrote and found."""

    audit: LabelAudit
    score: AuditScore | None
    written: tuple[Path, ...]
    noise: str | None = None
    """How the labels went wrong, in words, where a posterior estimates it."""
    note: str | None = None
    """What the ranking rests on, in words, where that is not plain."""
    proposal: str | None = None
    """Which rows were proposed to be checked, in words."""

    @property
    def summary(self) -> list[str]:
        """A few lines for a reader."""
        contradicted, suggested = self.audit.contradicted(), self.audit.suggested()
        by = "probabilities" if isinstance(self.audit, PosteriorAudit) else "neighbours"
        lines = [
            f"{len(self.audit):,} samples; in {contradicted.any(axis=1).sum():,} the {by} contradict a given label "
            f"({contradicted.sum():,} labels) and they suggest {suggested.sum():,} others."
        ]
        if self.note is not None:
            lines.append(self.note)
        if self.noise is not None:
            lines.append(f"Estimated noise: {self.noise}")
        if self.proposal is not None:
            lines.append(self.proposal)
        if self.score is not None:
            for field, name in RANKED.items():
                ranking: Ranking = getattr(self.score, field)
                if ranking.auroc is None or ranking.precision is None:
                    lines.append(f"{name}: {ranking.reason}")
                else:
                    lines.append(
                        f"{name}: AUROC {ranking.auroc:.3f}, precision at the {ranking.wrong:,} wrong ones "
                        f"{ranking.precision:.3f} (by chance {ranking.chance:.3f})"
                    )
            for name, curve in _reliability(self.score).items():
                lines.append(f"probabilities of {name}: off by {curve.error:.3f} in the mean")
        return [*lines, *map(str, self.written)]


def _reliability(score: AuditScore) -> dict[str, Reliability]:
    curves = {"given labels": score.given_reliability, "missing labels": score.missing_reliability}
    return {name: curve for name, curve in curves.items() if curve is not None}


def audit_run(
    path: Path,
    limit: int = 100,
    by: By = "posterior",
    proposed: int | None = None,
    proposed_by: ProposedBy = "random",
) -> AuditedRun:
    """Write audit.csv, audit.html and, where the true labels are known, audit.json into a run's folder.

    Args:
        path: folder of a finished run.
        limit: samples on the page, the most suspicious first; the table has all.
        by: "posterior": the probabilities of the labels, those that the run was trained on or else estimated now from
            its data; where these can no longer be opened, the neighbours, and the lines for the reader say so.
            "neighbours": the labels of each sample's nearest neighbours by the run's codes.
        proposed: how many rows to propose for checking, in check.csv; None: none.
        proposed_by: as `by` of `posterior.propose`.

    Raises:
        ValueError: the folder is no finished run, limit is below 1, by is neither, or rows cannot be proposed.
    """
    one_of("by", by, get_args(By))
    run = RunFolder.open(path)
    audit, noise, note = audit_of(run, by)
    clean = run.array("train_clean_labels") if run.has_array("train_clean_labels") else None
    pictures = (
        [Path(name) for name in run.array("train_pictures")] if run.has_array("train_pictures") else None
    )
    texts = run.array("train_texts").tolist() if run.has_array("train_texts") else None
    score = None if clean is None else audit.score(clean)
    written = _write(audit, path, score)
    write_audit_page(
        audit, path / "audit.html", run.state["data"]["title"], pictures, texts, score, noise, limit=limit
    )
    proposal = None if proposed is None else _proposal(audit, path, proposed, proposed_by)
    return AuditedRun(audit, score, written, noise, note, proposal)


def audit_of(
    run: RunFolder, by: By = "posterior", data: RetrievalData | None = None
) -> tuple[LabelAudit, str | None, str | None]:
    """(audit, estimated noise in words, why it is not by a posterior) of a finished run, as `audit_run` says.

    data: the run's, where it is open already.
    """
    fields = (
        run.array("train_ids"),
        run.array("confidence"),
        run.array("train_labels"),
        run.array("soft_labels"),
        tuple(run.state["data"]["label_names"]),
    )
    if by == "posterior":
        try:
            posterior = _posterior(run, data)
        except (OSError, ValueError) as error:
            note = f"Ranked by the neighbours, since the run's data cannot be opened: {error}"
            return LabelAudit(*fields), None, note
        return PosteriorAudit(*fields, posterior.probabilities), posterior.in_words(fields[-1]), None
    return LabelAudit(*fields), None, None


def _proposal(
    audit: LabelAudit,
    folder: Path,
    count: int,
    by: ProposedBy,
    groups: NDArray[np.integer] | None = None,
    known: NDArray[np.integer] | None = None,
) -> str:
    """Write check.csv; what is in it, in words."""
    if not isinstance(audit, PosteriorAudit):
        raise ValueError("propose: rows are proposed by probabilities; this audit asked the neighbours")
    rows = propose(audit.probabilities, audit.labels, count, by, groups, known)
    write_proposal(folder / PROPOSED, rows, audit.ids.tolist(), audit.labels, audit.label_names)
    return proposal_in_words(rows, folder / PROPOSED)


def _posterior(run: RunFolder, data: RetrievalData | None) -> LabelPosterior:
    if (run.path / POSTERIOR).is_file():
        return LabelPosterior.load(run.path / POSTERIOR)
    if data is None:
        data = open_data(run.recipe, run.path)
        run.check_data(data)
    train, labels = data.train, run.array("train_labels")
    return estimate(train.image, train.text, labels, groups=agreeing(train.groups, labels))


def audit_data(
    path: Path,
    out: Path,
    limit: int = 100,
    separator: str = ";",
    image_features: str | None = None,
    image_weights: Path | None = None,
    text_features: str = "bow",
    checked: Path | None = None,
    proposed: int | None = None,
    proposed_by: ProposedBy = "random",
    columns: str | None = None,
) -> AuditedRun:
    """Audit one's own data without a run: audit.csv, audit.html and, with clean labels, audit.json in a folder.

    Args:
        path: the data, as for `read_own`.
        out: the folder; it is made, and earlier audits in it are replaced. Features of pictures stay there.
        limit: samples on the page, the most suspicious first; the table has all.
        separator: between the labels of a cell.
        image_features: a backbone for own pictures, see `scbch features`. None: the texts alone speak.
        image_weights: file with the backbone's weights.
        text_features: "bow", "tfidf", "doc2vec" or the folder of an encoder, for own texts.
        checked: a table of rows that were checked by hand, see `read_checked`.
        proposed: how many other rows to propose for checking, in check.csv; None: none.
        proposed_by: as `by` of `posterior.propose`.
        columns: which of the data's columns are ours, as for `read_own`.

    Raises:
        ValueError: data or settings that are not as described, or texts of which nothing can be learned.
    """
    whole("limit", limit, 1)
    own = read_own(path, separator, columns=columns)
    if len(own) < FEWEST_ROWS:
        raise ValueError(
            f"{path}: {len(own)} rows are too few to learn from how labels go wrong: expected {FEWEST_ROWS} at least"
        )
    if out.exists() and not out.is_dir():
        raise ValueError(f"out: expected a folder, got the file {out}")
    if isinstance(own, ArrayPairs) and image_features is not None:
        raise ValueError(
            f"image_features: {path} has features already, expected none, got {image_features!r}"
        )
    raw = own if isinstance(own, RawPairs) else None
    if raw is not None and out.resolve() == data_file(path).parent.resolve():
        raise ValueError(
            f"out: audit.csv would be a second table in {out}, the folder of the data; name another"
        )
    known = None if checked is None else read_checked(checked, own.ids, own.label_names, separator)
    image, name = None, None
    out.mkdir(parents=True, exist_ok=True)
    if raw is not None and image_features is not None:
        backbone = image_backbone(image_features, image_weights)
        made_of = json.dumps([backbone.config(), own.source.arrays, str(path.absolute())], sort_keys=True)
        name = f"features-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}.h5"
        image = extract(raw.pictures, backbone, out / name)
    estimated = audit_own(own, text_features, image, image_features, None if known is None else known.pair)
    audit = estimated.audit
    score = None if own.clean_labels is None else audit.score(own.clean_labels)
    written = _write(audit, out, score)
    write_audit_page(
        audit,
        out / "audit.html",
        path.name,
        None if raw is None else raw.pictures,
        None if raw is None else raw.texts,
        score,
        estimated.posterior.in_words(own.label_names),
        limit=limit,
        basis=estimated.basis,
        agreement="their probabilities",
    )
    note = f"By {estimated.basis}."
    if known is not None:
        note += f" Checked by hand: {known.origin}."
    if raw is not None and image is None:
        note += " --image-features, such as vgg19 or pixels:32, lets them speak too."
    proposal = None
    if proposed is not None:
        rows = None if known is None else known.rows
        proposal = _proposal(audit, out, proposed, proposed_by, groups_of(own), rows)
    return AuditedRun(audit, score, written, estimated.posterior.in_words(own.label_names), note, proposal)


def _write(audit: LabelAudit, folder: Path, score: AuditScore | None) -> tuple[Path, ...]:
    """The table and, where there is one, the score; the page comes after them."""
    audit.write_csv(folder / "audit.csv")
    if score is None:
        return (folder / "audit.csv", folder / "audit.html")
    scores = {name: getattr(score, name)._asdict() for name in RANKED}
    scores["reliability"] = {name: curve._asdict() for name, curve in _reliability(score).items()}
    write_json(folder / "audit.json", scores, indent=1)
    return tuple(folder / name for name in ("audit.csv", "audit.html", "audit.json"))
