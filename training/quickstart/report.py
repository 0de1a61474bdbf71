"""The quickstart's report: one HTML file that needs nothing else, drawn from the results alone."""

import os
from pathlib import Path

from scbch_keras.files import replaced
from scbch_keras.modalities import Direction
from scbch_keras.training.pages.frame import duration, percent, render
from scbch_keras.training.quickstart import plots
from scbch_keras.training.quickstart.results import Results

# words before pictures: what a person tries first
ORDER: tuple[Direction, ...] = ("t2i", "i2t")


def write_report(results: Results, path: str | os.PathLike[str]) -> None:
    """Draw `results` and write the page to `path`, all or nothing."""
    html = draw_report(results).encode()
    with replaced(Path(path)) as file:
        file.write(html)


def draw_report(results: Results) -> str:
    """The report as one HTML document, the same text for the same results."""
    rows = score_rows(results)
    runs = {run.name for run in results.runs}
    return render(
        "report.html",
        Path(__file__).with_name("templates"),
        title="SCBCH quickstart report: finding icons by words",
        results=results,
        order=ORDER,
        duration=duration(results.seconds),
        facts=_facts(results),
        series=plots.SERIES,
        plots=plots,
        lines=[style for name, style in plots.SERIES.items() if name == "random" or name in runs],
        score_rows=rows,
        in_words={direction: _in_words(rows, direction) for direction in ORDER},
        verdict=_verdict(results),
        searches=_searches(results),
        histograms=_histograms(results),
        pairs=_settings(results),
    )


def _facts(results: Results) -> list[tuple[str, str]]:
    run, separation, bits = (
        results.run(results.released),
        results.confidence.separation,
        results.settings.bits,
    )
    facts = [
        (
            f"{run.map[direction]:.2f}",
            f"mAP of the released model when {words}; a random order gives {results.random_map[direction]:.2f}",
        )
        for direction, words in (
            ("t2i", "words search for pictures"),
            ("i2t", "pictures search for words"),
        )
    ]
    if separation is not None:
        trusted = "of the time SCBCH trusts a clean icon more than a corrupted one; a coin: "
        facts.append((percent(separation), trusted + percent(0.5)))
    stored = f"{-(-bits // 8)} byte{'s' if bits > 8 else ''}"
    return [*facts, (f"{bits} bit{'s' if bits > 1 else ''}", f"are kept of each picture and text: {stored}")]


def score_rows(results: Results) -> list[tuple[str, str, list[float]]]:
    """(series, title, [T2I, I2T, mean]) of a random order and of each training, lowest mean first."""
    scores = {"random": results.random_map, **{run.name: run.map for run in results.runs}}
    rows = [
        (name, plots.SERIES[name].title, [*(score[way] for way in ORDER), sum(score.values()) / 2])
        for name, score in scores.items()
    ]
    return sorted(rows, key=lambda row: row[2][-1])


def _in_words(rows: list[tuple[str, str, list[float]]], direction: Direction) -> str:
    scores = (f"{title} {scores[ORDER.index(direction)]:.2f}" for _, title, scores in rows)
    return f"{plots.TITLES[direction]}; mAP after the last epoch: {', '.join(scores)}."


def _verdict(results: Results) -> list[str]:
    """What the runs say of each other, in sentences."""
    by_name = {run.name: run for run in results.runs}
    full, random = by_name["full"], sum(results.random_map.values()) / 2
    lines = [f"In the mean SCBCH's codes reach {full.mean_map / random:.1f} times the mAP of a random order."]
    gains = {name: run.mean_map - full.mean_map for name, run in by_name.items()}
    if "clean" in gains:
        lines.append(f"Training on the true labels instead changes the mean by {gains['clean']:+.3f}.")
    if "unweighted" in gains:
        by_words, by_picture = (full.map[way] - by_name["unweighted"].map[way] for way in ORDER)
        lines.append(
            f"The confidence weights changed mAP by {by_words:+.3f} from words to pictures and by "
            f"{by_picture:+.3f} from pictures to words."
        )
    if "posterior" in gains:
        changed = f"changed the mean by {gains['posterior']:+.3f}."
        lines.append(f"Posterior labels, which are ours and not the paper's, {changed}")
    return [*lines, "This is one run with one seed: a small difference between two rows may be luck."]


def _searches(results: Results) -> list[tuple[Direction, int, int, float]]:
    """(direction, answers, right ones, right ones of as many random picks) where searches are shown."""
    shown = []
    for direction in ORDER:
        hits = [hit for search in results.searches if search.direction == direction for hit in search.hits]
        if hits:
            chance = results.random_precision[direction] * len(hits)
            shown.append((direction, len(hits), sum(bool(hit.shared) for hit in hits), chance))
    return shown


def _histograms(results: Results) -> list[tuple[int, str, str]]:
    """(epoch, histogram of its weights, their means in words): one where first and last epoch are the same."""
    confidence = results.confidence
    epochs = {"first": confidence.first_epoch, "last": results.settings.epochs}
    if epochs["first"] == epochs["last"]:
        del epochs["first"]
    drawn = plots.confidence_histograms(confidence, epochs)
    return [(epoch, drawn[when], _means(results, when)) for when, epoch in epochs.items()]


def _means(results: Results, when: str) -> str:
    weights: tuple[float, ...] = getattr(results.confidence, when)
    means = []
    for name, corrupted in (("clean", False), ("corrupted", True)):
        pairs = zip(weights, results.confidence.corrupted, strict=True)
        chosen = [weight for weight, is_corrupted in pairs if is_corrupted is corrupted]
        if chosen:
            means.append(f"{name} {sum(chosen) / len(chosen):.3f}")
    return f"Mean weight: {', '.join(means)}."


def _settings(results: Results) -> list[tuple[str, str]]:
    settings = results.settings
    image = (settings.picture_size**2, *settings.image_units, settings.bits)
    text = (results.data.words, *settings.text_units, settings.bits)
    return [
        ("backend", settings.backend),
        ("noise", f"{settings.noise:g} of the training icons, mixed symmetric"),
        ("code length", f"{settings.bits} bits"),
        ("seed", str(settings.seed)),
        ("epochs", f"{settings.epochs}, of them {settings.warmup_epochs} of warm-up"),
        ("batch size", str(settings.batch_size)),
        ("learning rate", f"{settings.learning_rate:g} (Adam)"),
        ("neighbours", str(settings.neighbors)),
        ("picture branch", " → ".join(map(str, image))),
        ("text branch", " → ".join(map(str, text))),
        *((f"trained: {run.name}", f"{run.seconds:.0f} s") for run in results.runs),
        *results.versions.items(),
    ]
