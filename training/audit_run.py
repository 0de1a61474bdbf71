"""The label audit of a finished run: a table, a page, and a score where the true labels are known."""

import json
from dataclasses import dataclass
from pathlib import Path

from scbch_keras.audit import AuditScore, LabelAudit, Ranking
from scbch_keras.export.files import replaced
from scbch_keras.training.audit_page import write_audit_page
from scbch_keras.training.run_folder import RunFolder

RANKINGS = {
    "by_suspicion": "samples by suspicion",
    "by_confidence": "samples by confidence",
    "given_labels": "given labels",
    "missing_labels": "missing labels",
}
"""What an `AuditScore` ranks, in words."""


@dataclass(frozen=True)
class AuditedRun:
    """What an audit wrote and found."""

    audit: LabelAudit
    score: AuditScore | None
    written: tuple[Path, ...]

    @property
    def told(self) -> list[str]:
        """A few lines for a reader."""
        flagged = int(self.audit.contradicted().any(axis=1).sum())
        lines = [
            f"{len(self.audit):,} samples; in {flagged:,} the neighbours contradict a given label "
            f"({self.audit.contradicted().sum():,} labels) and they suggest {self.audit.suggested().sum():,} others."
        ]
        if self.score is not None:
            for field, name in RANKINGS.items():
                ranking: Ranking = getattr(self.score, field)
                if ranking.auroc is None or ranking.precision is None:
                    lines.append(f"{name}: {ranking.reason}")
                else:
                    lines.append(
                        f"{name}: AUROC {ranking.auroc:.3f}, precision at the {ranking.wrong:,} wrong ones "
                        f"{ranking.precision:.3f} (by chance {ranking.chance:.3f})"
                    )
        return [*lines, *map(str, self.written)]


def audit_run(path: Path, limit: int = 100) -> AuditedRun:
    """Write audit.csv, audit.html and, where the true labels are known, audit.json into a run's folder.

    Args:
        path: folder of a finished run.
        limit: samples on the page, the most suspicious first; the table has all.

    Raises:
        ValueError: the folder is no finished run, or limit is below 1.
    """
    run = RunFolder.open(path)
    audit = LabelAudit(
        run.array("train_ids"),
        run.array("confidence"),
        run.array("train_labels"),
        run.array("soft_labels"),
        tuple(run.state["data"]["label_names"]),
    )
    score = None
    if run.has_array("train_clean_labels"):
        score = audit.score(run.array("train_clean_labels"))
    written = [path / "audit.csv", path / "audit.html"]
    pictures = (
        [Path(name) for name in run.array("train_pictures")] if run.has_array("train_pictures") else None
    )
    texts = run.array("train_texts").tolist() if run.has_array("train_texts") else None
    audit.write_csv(written[0])
    write_audit_page(audit, written[1], run.state["data"]["title"], pictures, texts, score, limit=limit)
    if score is not None:
        written.append(path / "audit.json")
        scores = {name: getattr(score, name)._asdict() for name in RANKINGS}
        with replaced(written[-1]) as file:
            file.write(json.dumps(scores, indent=1, allow_nan=False).encode())
    return AuditedRun(audit, score, tuple(written))
