"""The paper's figures from a stored run."""

from pathlib import Path

import numpy as np

from scbch_keras.training.pages.paper_figures import confidence_histograms, precision_recall, similarity_maps
from scbch_keras.training.runs.folder import RunFolder


def draw_figures(path: Path) -> list[Path]:
    """Write Figures 4, 5 and, where the true labels are known, 6 of a finished run into its folder figures/.

    Returns:
        The files, PNG and SVG of each figure.

    Raises:
        ValueError: the folder is no finished run.
    """
    run = RunFolder.open(path)
    folder = path / "figures"
    maps = {
        when: (run.array(f"map_image_{when}"), run.array(f"map_text_{when}")) for when in ("first", "last")
    }
    confidence, labels = run.array("confidence"), run.array("train_labels")
    folder.mkdir(exist_ok=True)
    title = f"{run.state['data']['title']}, {run.recipe.bits} bits, noise {run.recipe.noise:g}"
    metrics = run.state["metrics"]
    curves = {
        run.recipe.variant: {way: (metrics[way]["recall"], metrics[way]["precision"]) for way in metrics}
    }
    # with everything retrieved, every order has the same precision
    chance = {way: metrics[way]["precision"][-1] for way in metrics}
    precision_recall(curves, folder / "precision-recall", title, chance)
    similarity_maps(run.array("map_labels"), maps["first"], maps["last"], folder / "similarity-maps")
    stems = ["precision-recall", "similarity-maps"]
    if run.has_array("train_clean_labels") and run.has_array("confidence_early"):
        corrupted = np.any(labels != run.array("train_clean_labels"), axis=1)
        titles = (f"epoch {run.recipe.warmup_epochs + 1}", f"epoch {run.epochs_done}")
        confidence_histograms(
            run.array("confidence_early"), confidence, corrupted, folder / "confidence", titles
        )
        stems.append("confidence")
    return [folder / f"{stem}.{suffix}" for stem in stems for suffix in ("png", "svg")]
