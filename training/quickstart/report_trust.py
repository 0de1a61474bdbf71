"""The report's section on the confidence weights: whom the model trusts, and what it found."""

from scbch_keras.safe_text import html_text as escape
from scbch_keras.training.pages import plots as figures
from scbch_keras.training.pages.frame import figure, percent, picture
from scbch_keras.training.quickstart.results import Icon, Results, Suspect


def whom_it_trusts(results: Results) -> str:
    """Histograms of the weights (the paper's Fig. 6), and the labels of least confidence."""
    confidence, settings = results.confidence, results.settings
    epochs = {"first": confidence.first_epoch, "last": settings.epochs}
    if epochs["first"] == epochs["last"]:
        del epochs["first"]
    drawn = "".join(
        figure(
            figures.confidence_histogram(confidence, when, f"Epoch {epoch}"),
            f"Histogram of the confidence weights in epoch {epoch}",
            _means(results, when),
        )
        for when, epoch in epochs.items()
    )
    legend = '<li><span class="swatch clean" aria-hidden="true"></span>clean: filled, solid outline</li>'
    if any(confidence.corrupted):
        legend += (
            '<li><span class="swatch corrupted" aria-hidden="true"></span>'
            "corrupted: hatched, dashed outline</li>"
        )
    return f"""
<h2>Whom it trusts</h2>
<p>After the warm-up each training picture gets a weight from 0.5 to 1: how well its labels agree with the
labels of its {settings.neighbors} nearest neighbours by code. Nobody told the model which labels are wrong.
The six pictures of an icon share its labels, wrong ones too, and are likely to be among each other's
neighbours, which makes it harder.</p>
<ul class="legend">{legend}</ul>
<div class="figures">{drawn}</div>
{_suspects(results)}
{_posterior(results)}
"""


def _posterior(results: Results) -> str:
    posterior, data = results.posterior, results.data
    true = data.corrupted_icons / data.training_icons
    text = f"""
<h3>What the pictures and words say themselves</h3>
<p>Before any training, each label of each icon also got a probability of being true: from pictures and words,
which no wrong label has touched, and from the labels of all other icons. By this estimate
{percent(posterior.noise_rate)} of the icons have wrong labels; in truth {percent(true)} have.</p>"""
    if posterior.wrong is None or posterior.missing is None:
        return text
    return f"""{text}
<p>In {percent(posterior.wrong)} of all pairs of a wrong and a right label, the wrong one is less probable; in
{percent(posterior.missing)} of all pairs of a label that was taken away and one that never was there, the first is
more probable (a coin: {percent(0.5)}).</p>"""


def _suspects(results: Results) -> str:
    confidence, data = results.confidence, results.data
    if confidence.separation is None or confidence.found is None or not confidence.suspects:
        return ""
    shown, chance = len(confidence.suspects), data.corrupted_icons / data.training_icons
    hits = sum(suspect.corrupted for suspect in confidence.suspects)
    cards = "".join(_suspect(results.icons[suspect.icon], suspect) for suspect in confidence.suspects)
    return f"""
<p>Take a corrupted and a clean icon at random: in {percent(confidence.separation)} of all such pairs the
corrupted one has the lower weight (a coin: {percent(0.5)}). Of the {data.corrupted_icons:,} icons with the
lowest weights, {percent(confidence.found)} are corrupted (by chance: {percent(chance)}).</p>
<h3>The labels that it doubts most</h3>
<p>These are the {shown} training icons with the lowest weights. <strong>{hits} of them</strong> carry
corrupted labels; as many picked by chance would have about {chance * shown:.0f}. Struck through is the
wrong label that was given; underlined is the true one that was taken away.</p>
<ul class="suspects">{cards}</ul>"""


def _suspect(icon: Icon, suspect: Suspect) -> str:
    labels = [
        escape(label) if label in suspect.true else f"<del>{escape(label)}</del>" for label in suspect.given
    ]
    labels += [f"<ins>{escape(label)}</ins>" for label in suspect.true if label not in suspect.given]
    verdict = "✓ found: corrupted" if suspect.corrupted else "✗ false alarm: its labels are true"
    return (
        f'<li class="suspect{"" if suspect.corrupted else " wrong"}">{picture(icon)}<div>'
        f"<p><strong>{escape(suspect.icon)}</strong>, weight {suspect.confidence:.2f}</p>"
        f'<p>{", ".join(labels)}</p><p class="verdict">{verdict}</p></div></li>'
    )


def _means(results: Results, when: str) -> str:
    weights: tuple[float, ...] = getattr(results.confidence, when)
    means = []
    for name, corrupted in (("clean", False), ("corrupted", True)):
        chosen = [
            weight
            for weight, is_corrupted in zip(weights, results.confidence.corrupted, strict=True)
            if is_corrupted is corrupted
        ]
        if chosen:
            means.append(f"{name} {sum(chosen) / len(chosen):.3f}")
    return f"Mean weight: {', '.join(means)}."
