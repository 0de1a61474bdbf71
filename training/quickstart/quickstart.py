"""The whole path in minutes: wrong labels, four trainings, a release, a fresh process, a report."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from scbch_keras.callbacks import RetrievalMetrics
from scbch_keras.codes import pack_codes
from scbch_keras.export import Evaluation, release
from scbch_keras.labels.posterior import estimate
from scbch_keras.layers import HashBranch
from scbch_keras.methods.scbch import SCBCH
from scbch_keras.training import progress
from scbch_keras.training.data.icons.pictures import QUERIES, IconPairs, IconSet, corrupted, load_icons
from scbch_keras.training.environment import versions
from scbch_keras.training.quickstart import findings, icon_files
from scbch_keras.training.quickstart.arguments import ICONS, RELEASES, check_arguments, claim_folder
from scbch_keras.training.quickstart.fresh_search import search_in_fresh_process
from scbch_keras.training.quickstart.report import write_report
from scbch_keras.training.quickstart.results import Results, Run, Settings

_SHOWN_HITS = 8
_TITLES = {
    "full": "Training SCBCH",
    "unweighted": "Training without confidence weights",
    "posterior": "Training on posterior labels",
    "clean": "Training on clean labels",
}


def quickstart(
    out: str | os.PathLike[str],
    noise: float = 0.5,
    bits: int = 64,
    seed: int = 0,
    epochs: int = 12,
    icon_limit: int | None = None,
    console: Console | None = None,
) -> Results:
    """Train on the Phosphor icons with wrong labels, export, search, and write `out`/report.html.

    Four trainings from the same initial weights: SCBCH, the same without confidence weights, SCBCH on posterior
    labels (`scbch_keras.labels.posterior`), and SCBCH on the true labels (left out at noise 0, where it would be
    the first again). All are evaluated on held-out icons with true labels, after every epoch; what is reported
    is the last epoch, not the best. The same arguments give the same numbers on the same backend.

    The best of those that never saw the true labels is released, by its mean mAP on the held-out icons; it takes
    strings and pictures. `out` then holds report.html, results.json (all numbers), that model as model.keras and in
    releases/icons/, the icons as pictures with a table in icons/, and the codes of those that are searched:
    pictures.npy and texts.npy.

    Args:
        out: a folder that is new, empty, or an earlier quickstart's; its results are replaced, its releases
            kept. Files that the quickstart did not write are never touched.
        noise: share of the training icons whose labels are corrupted, in [0, 1]. All pictures of an icon
            carry the same labels.
        bits: code length, 1 to 1024.
        seed: of everything, at least 0.
        epochs: at least 1; the first five, or half of them if that is less, are the warm-up.
        icon_limit: use only this many icons, at least 30, a fifth of them as queries: a run of seconds whose
            numbers say little. None: all, 300 of them as queries.
        console: where progress is shown; None: standard output.

    Returns:
        What is in results.json.

    Raises:
        ValueError: an argument out of range, or `out` holds something else.
        RuntimeError: the exported encoders do not give the model's codes.
    """
    started = time.perf_counter()
    check_arguments(noise, bits, seed, epochs, icon_limit)
    settings = _settings(noise, bits, seed, epochs, icon_limit)
    folder = claim_folder(out)

    with progress.steps(console=console) as step:
        advance = step("Drawing icons")
        queries = QUERIES if icon_limit is None else icon_limit // 5
        icons = load_icons(seed, queries, icon_limit, settings.picture_size, progress=advance)
        training, query, database = icons.training, icons.queries, icons.database
        noisy, noisy_labels = corrupted(icons, training, noise, seed)
        step("Estimating posterior labels")
        posterior = estimate(training.image, training.text, noisy_labels, "independent", groups=training.icon)

        plans: list[tuple[str, NDArray[np.uint8] | NDArray[np.float32]]] = [
            ("full", noisy_labels),
            ("unweighted", noisy_labels),
            ("posterior", posterior.probabilities),
        ]
        if noisy.corrupted.any():
            plans.append(("clean", training.labels))
        runs, models, watches = [], {}, {}
        for name, labels in plans:
            advance = step(_TITLES[name])
            models[name], watches[name], run = _train(name, settings, icons, labels, query, database, advance)
            runs.append(run)

        best = max((run for run in runs if run.name != "clean"), key=lambda run: run.mean_map)
        model = models[best.name]
        model.save(folder / "model.keras")
        released = release(
            model,
            folder / RELEASES,
            text=icon_files.text_pipeline(icons),
            image=icon_files.image_pipeline(settings.picture_size),
            label_names=icons.categories,
            training=_training_record(settings, best),
            evaluation=Evaluation.of((query.inputs, query.labels), (database.inputs, database.labels)),
            max_map_loss=None,  # an earlier quickstart's release may have had other settings
            progress=step,
        )
        step("Searching in a fresh process")
        given = icons.labels.copy()
        given[icons.train] = noisy.labels
        icon_files.write_icons(icons, given, folder / ICONS)
        shown = min(_SHOWN_HITS, len(database.icon))
        rows = database.icon.tolist()
        fresh = search_in_fresh_process(
            released.path,
            query.inputs,
            database.inputs,
            shown,
            folder,
            pictures=[folder / ICONS / icon_files.file_name(icons, row) for row in rows],
            texts={icons.names[row]: icon_files.text_of(icons, row) for row in rows},
        )
        served = findings.compare_codes(
            released.path.relative_to(folder).as_posix(),
            fresh,
            *_codes_and_coordinates(model, query, database),
            bits,
        )

        confidence = findings.trust(
            icons, training, noisy, watches["full"].first, watches["full"].last, settings.warmup_epochs + 1
        )
        searches = findings.searches(icons, query, database, fresh, seed)
        sample = findings.example(icons, seed)
        random_map, random_precision = findings.random_ranking(query, database)
        results = Results(
            settings=settings,
            versions=versions(settings.backend),
            data=findings.summary(icons, training, int(noisy.corrupted.sum())),
            random_map=random_map,
            random_precision=random_precision,
            runs=tuple(runs),
            released=best.name,
            confidence=confidence,
            posterior=findings.posterior(icons, training, noisy, posterior),
            served=served,
            searches=searches,
            example=sample,
            icons=findings.shown_icons(icons, searches, confidence, sample),
            seconds=round(time.perf_counter() - started, 1),
        )
        results.save(folder / "results.json")
        step("Writing the report")
        write_report(results, folder / "report.html")
    return results


class _Watch(keras.callbacks.Callback):
    """Shows the epochs and keeps the confidence weights of the first weighted epoch and of the last."""

    def __init__(self, advance: Callable[[int, int], None], warmup_epochs: int):
        super().__init__()
        self.advance = advance
        self.warmup_epochs = warmup_epochs
        self.first: Any = None
        self.last: Any = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.advance(epoch + 1, self.params["epochs"])
        if self.model.confidence is None:
            return
        if epoch == self.warmup_epochs:
            self.first = keras.ops.convert_to_numpy(self.model.confidence).copy()
        if epoch + 1 == self.params["epochs"]:
            self.last = keras.ops.convert_to_numpy(self.model.confidence).copy()


def _train(
    name: str,
    settings: Settings,
    icons: IconSet,
    labels: NDArray[np.uint8] | NDArray[np.float32],
    query: IconPairs,
    database: IconPairs,
    advance: Callable[[int, int], None],
) -> tuple[SCBCH, _Watch, Run]:
    keras.utils.set_random_seed(settings.seed)
    model = SCBCH(
        bits=settings.bits,
        num_classes=len(icons.categories),
        image_branch=HashBranch(settings.bits, settings.image_units),
        text_branch=HashBranch(settings.bits, settings.text_units),
        neighbors=settings.neighbors,
        warmup_epochs=settings.warmup_epochs,
        confidence_weighting=name != "unweighted",
        labels="posterior" if name == "posterior" else "noisy",
    )
    model.compile(keras.optimizers.Adam(settings.learning_rate))
    watch = _Watch(advance, settings.warmup_epochs)
    metrics = RetrievalMetrics((query.inputs, query.labels), (database.inputs, database.labels))
    started = time.perf_counter()
    history = model.fit(
        icons.training.inputs,
        labels,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        callbacks=[metrics, watch],
        verbose=0,
    ).history
    seconds = time.perf_counter() - started
    codes, _ = _codes_and_coordinates(model, query, database)
    query_codes, database_codes = (
        {side: codes[f"{part}_{side}"] for side in ("image", "text")} for part in ("query", "database")
    )
    scores, precision, recall = findings.retrieval(
        query_codes, database_codes, query, database, settings.bits
    )
    logged = {
        key: tuple(float(value) if math.isfinite(value) else None for value in values)
        for key, values in history.items()
    }
    return model, watch, Run(name, scores, logged, precision, recall, round(seconds, 1))


def _codes_and_coordinates(
    model: SCBCH, query: IconPairs, database: IconPairs
) -> tuple[findings.Codes, dict[str, NDArray[np.float32]]]:
    """Packed codes and continuous ones of both sets, by "query_image", "query_text" and so on."""
    packed, continuous = {}, {}
    for side, encode in (("image", model.encode_image), ("text", model.encode_text)):
        both = encode(np.concatenate([query.inputs[side], database.inputs[side]]), packed=False, verbose=0)
        for part, codes in zip(("query", "database"), np.split(both, [len(query.icon)]), strict=True):
            packed[f"{part}_{side}"], continuous[f"{part}_{side}"] = pack_codes(codes), codes
    return packed, continuous


def _training_record(settings: Settings, run: Run) -> dict[str, Any]:
    """What the manifest keeps of the training."""
    plain = {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()
    }
    return {
        "settings": plain,
        "versions": versions(settings.backend),
        "run": run.name,
        "metrics": {"map": run.map},
    }


def _settings(noise: float, bits: int, seed: int, epochs: int, icon_limit: int | None) -> Settings:
    return Settings(
        backend=keras.backend.backend(),
        noise=float(noise),
        bits=int(bits),
        seed=int(seed),
        epochs=int(epochs),
        warmup_epochs=min(5, int(epochs) // 2),
        batch_size=128,
        learning_rate=3e-4,
        neighbors=20,
        image_units=(512, 512),
        text_units=(512,),
        picture_size=32,
        icon_limit=None if icon_limit is None else int(icon_limit),
    )
