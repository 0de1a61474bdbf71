"""Posterior labels where they work and where they must fail: the subset of 724 real pairs, and the icons.

    KERAS_BACKEND=torch python -m benchmarks.beyond [estimates] [tags] [exchanges] [failures] [parts] [unseen]
        [icons] [models] [kinds] [lengths] [tags_trained] [degrees] [rescored] [geometry] [epochs]
        [--data ../shared/reference/mirflickr] [--seeds 5] [--keep FOLDER]

`estimates` (no training): the estimated noise rate, AUROC of wrong and of missing labels, the squared error of the
probabilities over that of the noisy labels, and the count model's table in words; mixed symmetric noise at four
rates, and labels only dropped or only added. `tags`: the error of MIRFlickr's own tags as labels, with 50 checked
rows and without, and by how these rows were chosen. `exchanges`: the error where labels give way to certain others,
by what the count model assumes. `failures`: mAP of the paper's objective and of posterior labels, the mean of both
directions in points, on the subset under noise at .5 of five kinds: symmetric; class-conditional (sky for clouds: a
label gives way to the one that is most often beside it); feature-dependent (the samples and labels that a classifier
confuses most); symmetric with features of other samples, which carry no signal; and symmetric where no label is
frequent (the 8 rarest). `parts`: what the gain is made of, on the subset at noise .5. `unseen`: half of the training
pairs are trained on, and the other half, which no training sees, is the database; the subset and the icons at three
rates.
`icons`: both objectives on the icons at four rates, image features from EfficientNet-Lite0 (`icon_features`).
`models`: mAP of the paper's objective and of posterior labels of two noise models, on the subset and the icons at four
rates. `kinds`: the same of the count model by the kind of noise, at .5; where exchanges are by class, knowing that
too, where they follow the features, with 50 checked rows. `lengths`: and by the code's length, at .8.
`tags_trained`: mAP of training on the tags, with 25 to 200 checked rows, chosen in three ways, and without.
`degrees`: metrics of relevance in degrees by what weighs attraction, on the subset and on made-up samples with two
attributes, at noise .5. `rescored`: mAP of the subset's codes by Hamming distance and ranked again, and what it costs.
`geometry`: mAP by what the branches are fed with and by the objective, at noise .8, on the subset and the icons.
`epochs`: seconds of an epoch on posterior labels over one with the refresh pass, on the subset, in turns in one run.
Means and standard errors over seeds. `--keep FOLDER` goes on where a command stopped (`benchmarks.kept`).
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np

from benchmarks import kept
from benchmarks.beyond_degrees import degrees, rescored
from benchmarks.beyond_geometry import geometry
from benchmarks.beyond_kinds import gains, kinds, lengths, models
from benchmarks.beyond_trained import ICONS, exchanges, gain_columns, row, tags, tags_trained, told
from benchmarks.label_noise import class_conditional, feature_dependent
from benchmarks.subset_724 import RATES, fit_and_score
from scbch_keras.labels.audit import auroc
from scbch_keras.labels.noise import additive, mixed_symmetric, subtractive
from scbch_keras.labels.noise_words import table_in_words
from scbch_keras.labels.posterior import LabelPosterior, NoiseModel, estimate, leave_one_out
from scbch_keras.training.data.benchmarks.sets import load_benchmark
from scbch_keras.training.data.icons.pairs import icon_data
from scbch_keras.training.data.pairs import Pairs


def sources(folder: Path, seed: int) -> dict[str, Pairs]:
    """Training pairs with clean labels of the subset and of the icons, a picture an icon."""
    return {
        "subset": load_benchmark("mirflickr-subset", folder, 0.0, seed).train,
        "icons": icon_data(0.0, seed, regular_only=True).train,
    }


def estimates(folder: Path, seeds: range) -> None:
    cases = [(mixed_symmetric, rate, model, False) for model in get_args(NoiseModel) for rate in RATES]
    cases += [
        (noise, 0.5, model, model == "independent")
        for noise in (subtractive, additive)
        for model in ("count", "independent")
    ]
    print(
        f"{'':8}{'noise':16}{'rate':>5}  {'model':22}{'estimated':>10}{'wrong':>8}{'missing':>9}{'error':>8}{'of':>8}"
    )
    trains = [sources(folder, seed) for seed in seeds]
    for name in trains[0]:
        for noise, rate, model, separate in cases:
            found, tables = [], []
            for seed, train in enumerate(trains):
                pairs = train[name]
                labels = noise(pairs.labels, rate, seed).labels
                posterior = estimate(pairs.image, pairs.text, labels, model, separate)
                tables += [] if posterior.noise is None else [posterior.noise]
                p, given, true = posterior.probabilities, labels != 0, pairs.labels != 0
                wrong, missing = ~true[given], true[~given]
                found.append(
                    (
                        posterior.noise_rate,
                        auroc(-p[given], wrong) if wrong.any() else np.nan,
                        auroc(p[~given], missing) if missing.any() else np.nan,
                        np.square(p - true).mean(),
                        (given != true).mean(),
                    )
                )
            rate_found, wrong, missing, error, before = np.mean(found, axis=0)
            told = f"{model}{', separate' if separate else ''}"
            print(
                f"{name:8}{noise.__name__:16}{rate:5}  {told:22}{rate_found:10.2f}{wrong:8.3f}{missing:9.3f}"
                f"{error:8.4f}{before:8.4f}  {table_in_words(np.mean(tables, axis=0)) if tables else ''}",
                flush=True,
            )


def failures(folder: Path, seeds: range) -> None:
    results: dict[str, list] = {}
    for seed in seeds:
        data = load_benchmark("mirflickr-subset", folder, 0.0, seed)
        train, query = data.train, data.query
        true = train.labels
        rare = np.argsort(true.sum(axis=0))[:8]
        scores, _ = leave_one_out(train.image, train.text, true)
        symmetric = mixed_symmetric(true, 0.5, seed).labels
        shuffled = np.random.default_rng(seed).permutation(len(true))
        rare_labels = mixed_symmetric(true[:, rare], 0.5, seed).labels
        others = replace(train, image=train.image[shuffled], text=train.text[shuffled])
        of_rare = [replace(pairs, labels=pairs.labels[:, rare]) for pairs in (query, train)]
        kinds = {
            "symmetric": (query, train, symmetric),
            "class-conditional": (query, train, class_conditional(true, 0.5, seed)),
            "feature-dependent": (query, train, feature_dependent(true, 0.5, scores)),
            "no signal": (query, others, symmetric),
            "rare labels": (*of_rare, rare_labels),
        }
        for kind, (queries, database, labels) in kinds.items():
            classes = labels.shape[1]
            found, scores = train_both(seed, database, labels, queries, database, num_classes=classes)
            true = database.labels
            errors = np.square(found.probabilities - true).mean(), (labels != true).mean()
            results.setdefault(kind, []).append((*scores, *errors))
    print(
        f"{'':20}{'paper':>8}{'posterior':>11}{'difference':>18}{'error':>9}{'of':>8}   (squared error of the "
        "probabilities, of the noisy labels)"
    )
    for kind, cells in results.items():
        paper, posterior, error, before = np.array(cells).T
        print(
            f"{kind:20}{paper.mean():8.1f}{posterior.mean():11.1f}{told(posterior - paper):>18}"
            f"{error.mean():9.4f}{before.mean():8.4f}"
        )


def train_both(
    seed: int,
    train: Pairs,
    labels: np.ndarray,
    query: Pairs,
    database: Pairs,
    **settings,
) -> tuple[LabelPosterior, tuple[float, float]]:
    """The posterior of the labels of `train`, and mAP of the paper's objective on these and of posterior labels."""
    found = estimate(train.image, train.text, labels, "independent")
    paper, posterior = (
        100 * fit_and_score(seed, train.inputs, targets, query, database, **settings, **more).mean
        for targets, more in ((labels, {}), (found.probabilities, {"labels": "posterior"}))
    )
    return found, (paper, posterior)


def parts(folder: Path, seeds: range) -> None:
    """The posterior's use part by part, each beside the paper's objective on the noisy labels."""
    from keras import ops

    from scbch_keras import SCBCH
    from scbch_keras.losses import soft_label_similarity

    class AnySharing(SCBCH):
        """Attracts all pairs that may share a label, as the paper's [R > 0] would."""

        def _label_relations(self, labels):
            similarity = soft_label_similarity(labels)
            return similarity, ops.cast(similarity > 0, "float32")

    results: dict[str, list[float]] = {}
    for seed in seeds:
        data = load_benchmark("mirflickr-subset", folder, 0.5, seed)
        train, query, database = data.train, data.query, data.database
        p = estimate(train.image, train.text, train.labels, "independent").probabilities
        kinds = {
            "the paper's objective": (train.labels, {}),
            "intra-modal term, noisy labels": (train.labels, {"intra_modal": True}),
            "labels with p > 1/2": ((p > 0.5).astype("uint8"), {}),
            "posterior, mask [R > 0]": (p, {"labels": "posterior", "method": AnySharing}),
            "posterior, no intra-modal term": (p, {"labels": "posterior", "intra_modal": False}),
            "posterior": (p, {"labels": "posterior"}),
            "true labels": (database.labels, {}),
        }
        for kind, (targets, settings) in kinds.items():
            score = fit_and_score(seed, train.inputs, targets, query, database, **settings)
            results.setdefault(kind, []).append(100 * score.mean)
    paper = np.array(results["the paper's objective"])
    for kind, scores in results.items():
        print(f"{kind:32}{np.mean(scores):6.1f}{told(np.array(scores) - paper):>16}")


def unseen(folder: Path, seeds: range) -> None:
    """Both objectives with a database that is not trained on."""
    row("", "noise", "SCBCH", "`independent`", "gain", "`count`", "gain")
    for rate in RATES[1:]:
        results: dict[str, list[list[float]]] = {}
        for seed in seeds:
            sets = {
                "subset": (load_benchmark("mirflickr-subset", folder, 0.0, seed), {}),
                "icons": (icon_data(0.0, seed, regular_only=True), ICONS),
            }
            for name, (data, settings) in sets.items():
                order = np.random.default_rng(seed).permutation(len(data.train))
                seen, database = (rows(data.train, part) for part in np.array_split(order, 2))
                labels = mixed_symmetric(seen.labels, rate, seed).labels
                cells = gains(seed, seen, labels, data.query, database, **settings)
                results.setdefault(name, []).append(cells)
        for name, cells in results.items():
            row(name, rate, *gain_columns(cells))


def icons(folder: Path, seeds: range) -> None:
    """Both objectives on the icons with image features of a pre-trained network."""
    from benchmarks.icon_features import icons_on_efficientnet

    row("noise", "SCBCH", "`independent`", "gain", "`count`", "gain")
    for rate in RATES:
        results = []
        for seed in seeds:
            data = icons_on_efficientnet(rate, seed)
            train = data.train
            results.append(gains(seed, train, train.labels, data.query, data.database, **ICONS))
        row(rate, *gain_columns(results))


def epochs(folder: Path, seeds: range) -> None:
    """The median time of an epoch after the warm-up, with the refresh pass and on posterior labels."""
    import time

    import keras

    from scbch_keras import SCBCH, HashBranch

    train = load_benchmark("mirflickr-subset", folder, 0.5, 0).train
    p = estimate(train.image, train.text, train.labels, "independent").probabilities
    seconds: dict[str, list[float]] = {"noisy": [], "posterior": []}
    for _ in seeds:
        for labels, targets in (("noisy", train.labels), ("posterior", p)):
            branches = {"image_branch": HashBranch(64, (1024, 1024)), "text_branch": HashBranch(64, (1024,))}
            model = SCBCH.for_benchmark("mirflickr", labels=labels, warmup_epochs=1, **branches)
            model.compile(keras.optimizers.Adam(1e-4))
            ends: list[float] = []
            watch = keras.callbacks.LambdaCallback(
                on_epoch_end=lambda *_, to=ends: to.append(time.perf_counter())
            )
            model.fit(train.inputs, targets, batch_size=128, epochs=10, verbose=0, callbacks=[watch])
            # The first epoch compiles, the second too where the refresh pass begins with it.
            seconds[labels].append(float(np.median(np.diff(ends[1:]))))
    best = {labels: min(times) for labels, times in seconds.items()}
    print(f"an epoch on posterior labels: {best['posterior'] / best['noisy']:.2f} of one with a refresh pass")


def rows(pairs: Pairs, chosen: np.ndarray) -> Pairs:
    """Some of the pairs."""
    return Pairs(pairs.image[chosen], pairs.text[chosen], pairs.labels[chosen], pairs.ids[chosen])


def _seeds(text: str) -> range:
    first, _, last = text.rpartition(":")
    return range(int(first or 0), int(last))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    chosen = {
        part.__name__: part
        for part in (
            *(estimates, tags, exchanges, failures, parts, unseen, icons, models, kinds, lengths),
            *(tags_trained, degrees, rescored, geometry, epochs),
        )
    }
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(chosen)}; all of them")
    parser.add_argument("--data", type=Path, default=Path("../shared/reference/mirflickr"))
    parser.add_argument("--seeds", type=_seeds, default=range(5), help="how many, or as in 3:5 which")
    parser.add_argument("--keep", type=Path, help="folder of scores that are not trained for again")
    args = parser.parse_args()
    if not (args.data / "mirflickr_subset_724.npz").is_file():
        raise SystemExit(f"{args.data} holds no mirflickr_subset_724.npz; name its folder with --data")
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
        kept.folder = args.keep
    if unknown := set(args.parts) - set(chosen):
        parser.error(f"parts: expected some of {', '.join(chosen)}, got {', '.join(unknown)}")
    for part in args.parts or chosen:
        chosen[part](args.data, args.seeds)


if __name__ == "__main__":
    main()
