"""The label audit of a finished run: a table, a page, and a score where the true labels are known."""

from dataclasses import dataclass
from pathlib import Path

from scbch_keras.labels.audit import AuditScore, LabelAudit, PosteriorAudit, Ranking, Reliability
from scbch_keras.labels.posterior import LabelPosterior
from scbch_keras.stored import write_json
from scbch_keras.training.pages.audit_page import RANKED, write_audit_page
from scbch_keras.training.runs.folder import POSTERIOR, RunFolder


@dataclass(frozen=True)
class AuditedRun:
    """What an audit wrote and found."""

    audit: LabelAudit
    score: AuditScore | None
    written: tuple[Path, ...]
    noise: str | None = None
    """How the labels went wrong, in words, where the run's posterior estimates it."""

    @property
    def summary(self) -> list[str]:
        """A few lines for a reader."""
        contradicted, suggested = self.audit.contradicted(), self.audit.suggested()
        by = "probabilities" if isinstance(self.audit, PosteriorAudit) else "neighbours"
        lines = [
            f"{len(self.audit):,} samples; in {contradicted.any(axis=1).sum():,} the {by} contradict a given label "
            f"({contradicted.sum():,} labels) and they suggest {suggested.sum():,} others."
        ]
        if self.noise is not None:
            lines.append(f"Estimated noise: {self.noise}")
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


def audit_run(path: Path, limit: int = 100) -> AuditedRun:
    """Write audit.csv, audit.html and, where the true labels are known, audit.json into a run's folder.

    A run on posterior labels is audited by their probabilities, another by the neighbours' labels.

    Args:
        path: folder of a finished run.
        limit: samples on the page, the most suspicious first; the table has all.

    Raises:
        ValueError: the folder is no finished run, or limit is below 1.
    """
    run = RunFolder.open(path)
    fields = (
        run.array("train_ids"),
        run.array("confidence"),
        run.array("train_labels"),
        run.array("soft_labels"),
        tuple(run.state["data"]["label_names"]),
    )
    audit, noise = LabelAudit(*fields), None
    if (path / POSTERIOR).is_file():
        posterior = LabelPosterior.load(path / POSTERIOR)
        audit, noise = PosteriorAudit(*fields, posterior.probabilities), posterior.in_words(fields[-1])
    score = None
    if run.has_array("train_clean_labels"):
        score = audit.score(run.array("train_clean_labels"))
    written = [path / "audit.csv", path / "audit.html"]
    pictures = (
        [Path(name) for name in run.array("train_pictures")] if run.has_array("train_pictures") else None
    )
    texts = run.array("train_texts").tolist() if run.has_array("train_texts") else None
    audit.write_csv(written[0])
    write_audit_page(
        audit, written[1], run.state["data"]["title"], pictures, texts, score, noise, limit=limit
    )
    if score is not None:
        written.append(path / "audit.json")
        scores = {name: getattr(score, name)._asdict() for name in RANKED}
        scores["reliability"] = {name: curve._asdict() for name, curve in _reliability(score).items()}
        write_json(written[-1], scores, indent=1)
    return AuditedRun(audit, score, tuple(written), noise)
