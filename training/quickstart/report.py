"""The quickstart's report: one HTML file that needs nothing else, drawn from the results alone."""

import os
from pathlib import Path

from scbch_keras.files import replaced
from scbch_keras.safe_text import html_text as escape
from scbch_keras.training.pages.frame import document, fact_list, listed, percent
from scbch_keras.training.quickstart import report_retrieval, report_trust
from scbch_keras.training.quickstart.results import Results

_FOOTER = (
    '<p class="soft">Made by scbch_keras. The icons are Phosphor (MIT licence), from the package '
    "py-phosphor-icons. The method: Peng et al., Semantic-Consistent Bidirectional Contrastive Hashing for "
    "Noisy Multi-Label Cross-Modal Retrieval, AAAI 2026.</p>"
)


def write_report(results: Results, path: str | os.PathLike[str]) -> None:
    """Draw `results` and write the page to `path`, all or nothing."""
    html = draw_report(results).encode()
    with replaced(Path(path)) as file:
        file.write(html)


def draw_report(results: Results) -> str:
    """The report as one HTML document, the same text for the same results."""
    sections = (
        _what_was_done,
        report_retrieval.how_well,
        report_retrieval.twenty_searches,
        report_trust.whom_it_trusts,
        _served,
        _settings,
    )
    body = "\n".join(section(results) for section in sections)
    return document("SCBCH quickstart", _header(results), body, _FOOTER)


def _header(results: Results) -> str:
    data, run, separation = results.data, results.run("full"), results.confidence.separation
    random = {direction: f"{score:.2f}" for direction, score in results.random_map.items()}
    facts = [
        (
            f"{run.map['t2i']:.2f}",
            f"mAP when words search for pictures; a random order gives {random['t2i']}",
        ),
        (
            f"{run.map['i2t']:.2f}",
            f"mAP when pictures search for words; a random order gives {random['i2t']}",
        ),
    ]
    if separation is not None:
        trusted = "of the time the model trusts a clean icon more than a corrupted one; a coin: "
        facts.append((percent(separation), trusted + percent(0.5)))
    bits = results.settings.bits
    stored = f"{-(-bits // 8)} byte{'s' if bits > 8 else ''}"
    facts.append((f"{bits} bit{'s' if bits > 1 else ''}", f"are kept of each picture and text: {stored}"))
    title = "Finding icons by words, learned from true labels"
    if data.corrupted_icons:
        wrong = percent(data.corrupted_icons / data.training_icons)
        title = f"Finding icons by words, learned from examples of which {wrong} are mislabelled"
    return f"""<h1>{escape(title)}</h1>
<p class="lead">A small model learned to turn pictures and words into short binary codes, so that what belongs
together gets similar codes. It was trained, tested, exported and searched on this computer in
{escape(_duration(results.seconds))}. This page shows what came out.</p>
{fact_list(facts)}"""


def _what_was_done(results: Results) -> str:
    data, settings, example = results.data, results.settings, results.example
    pixels = "".join(
        f'<li><img class="pixels" src="data:image/png;base64,{escape(png)}" '
        f'alt="{escape(f"{example.icon}, {weight}, as pixels")}">{escape(weight)}</li>'
        for weight, png in example.pictures.items()
    )
    if data.corrupted_icons:
        labels = f"""<strong>Then the labels were damaged.</strong> Of the {data.training_icons:,} training
icons, {data.corrupted_icons:,} were picked at random. Each lost one of its categories and got a wrong one
instead (mixed symmetric noise), on all of its pictures. The model was not told which. The held-out icons keep
their true labels, for the test."""
    else:
        labels = "<strong>The labels were left as they are</strong> (noise 0)."
    return f"""
<h2>What was done</h2>
<ol>
<li><strong>Pictures, words and categories.</strong> {data.icons:,} Phosphor icons, each in six weights,
were drawn at {settings.picture_size} by {settings.picture_size} grey pixels. Their names and tags are the
text, as a bag of {data.words:,} words. Their {len(data.categories)} categories, {data.labels_per_icon:.1f}
for an icon in the mean, are the labels.</li>
<li><strong>{data.query_icons:,} icons were held out</strong> in all their weights, and the model never saw
them. The other {data.training_icons:,} give {data.training_pictures:,} training pictures. Their regular
weight is the database that is searched.</li>
<li>{labels}</li>
<li><strong>The model was trained for {settings.epochs} epochs</strong> on {escape(settings.backend)}. After
the first {settings.warmup_epochs} it began to ask of each picture whether its labels agree with those of
its nearest neighbours, and to give less weight to those that do not.</li>
<li><strong>The trained encoders were exported</strong>, opened again in a fresh process without Keras, and
searched.</li>
</ol>
<p>This is what the model got to see of one training icon, <strong>{escape(example.icon)}</strong>
({listed(results.icons[example.icon].categories)}):</p>
<ul class="strip">{pixels}</ul>
<p>and its words: {listed(example.words)}.</p>
<p class="soft">Notes on the data: {_gaps(results)}.</p>
"""


def _gaps(results: Results) -> str:
    data = results.data
    notes = [
        f"{len(names)} left out {why} ({', '.join(names)})"
        for names, why in (
            (data.unlabelled, "for want of a category"),
            (data.undrawable, "for want of a regular picture"),
        )
        if names
    ]
    notes += [f"{data.missing_pictures} pictures missing, {data.broken_pictures} broken"]
    notes += [f"{data.wordless_icons} held-out icons without a word that a training icon has"]
    return escape("; ".join(notes))


def _served(results: Results) -> str:
    served = results.served
    if served.near_zero:
        rest = (
            f"The other {served.near_zero:,} come from numbers within {served.tolerance:g} of zero, where "
            "rounding decides the bit."
        )
    else:
        rest = "Not one differs."
    return f"""
<h2>Out of the workshop</h2>
<p>The model was written as a release, <code>{escape(served.release)}</code>. A fresh process with numpy and
onnxruntime, and without Keras, opened its ONNX files, encoded the queries and the database by picture and
by words, built the two indices and ran the searches above, all in {served.seconds:.1f} seconds.</p>
<p>Its {served.codes:,} codes were compared with the model's own: <strong>{served.equal:,} of {served.bits:,}
bits</strong> are the same. {escape(rest)}</p>
"""


def _settings(results: Results) -> str:
    settings = results.settings
    image = (settings.picture_size**2, *settings.image_units, settings.bits)
    text = (results.data.words, *settings.text_units, settings.bits)
    pairs = [
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
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f"""
<h2>Settings</h2>
<p>The same settings give the same numbers on the same backend. All that this page is drawn from is in
<code>results.json</code>.</p>
<dl>{items}</dl>
"""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
