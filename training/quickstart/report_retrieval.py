"""The report's sections on what is found: the table, the curves, and the shown searches."""

from scbch_keras.safe_text import html_text as escape
from scbch_keras.training.pages import plots as figures
from scbch_keras.training.pages.frame import figure, listed, picture, table
from scbch_keras.training.quickstart.results import Direction, Results, Search

# words before pictures: what a person tries first
ORDER: tuple[Direction, ...] = ("t2i", "i2t")
ARROWS = {"t2i": "words → pictures", "i2t": "pictures → words"}
_PAPER = {"t2i": "T2I", "i2t": "I2T"}

_SEARCHES = {
    "t2i": (
        "Ten searches by words",
        "The name and tags of a held-out icon search among the pictures. The icon beside them is the one "
        "they belong to; the search saw only the words.",
    ),
    "i2t": (
        "Ten searches by picture",
        "The picture of a held-out icon searches among the words of the other icons. What it finds are "
        "words; the icons that they belong to are shown.",
    ),
}


def score_rows(results: Results) -> list[tuple[str, str, list[float]]]:
    """(series, title, [T2I, I2T, mean]) of a random order and of each training, lowest mean first."""
    scores = {"random": results.random_map, **{run.name: run.map for run in results.runs}}
    rows = [
        (name, figures.SERIES[name][0], [*(score[direction] for direction in ORDER), sum(score.values()) / 2])
        for name, score in scores.items()
    ]
    return sorted(rows, key=lambda row: row[2][-1])


def how_well(results: Results) -> str:
    """The headline table, mAP by epoch, and precision over recall."""
    head = "".join(f'<th scope="col">{ARROWS[direction]} ({_PAPER[direction]})</th>' for direction in ORDER)
    body = "".join(
        f'<tr{" class=ours" if name == "full" else ""}><th scope="row">{escape(title)}</th>'
        + "".join(_bar(name, score) for score in scores)
        + "</tr>"
        for name, title, scores in score_rows(results)
    )
    scores = table(
        "mAP of each training",
        "<caption>mAP over the whole ranking after the last epoch; equal distances count with their expected "
        'value</caption><thead><tr><th scope="col">training</th>'
        f'{head}<th scope="col">mean</th></tr></thead><tbody>{body}</tbody>',
    )
    by_epoch = "".join(
        figure(figures.map_by_epoch(results, direction), f"mAP by epoch. {_in_words(results, direction)}")
        for direction in ORDER
    )
    curves = "".join(
        figure(
            figures.precision_recall(results, direction),
            f"Precision over recall. {_in_words(results, direction)}",
        )
        for direction in ORDER
    )
    return f"""
<h2>How well it finds</h2>
<p>A retrieved icon is right when it shares at least one true category with the query. mAP, mean average
precision, is 1 when all the right ones come first. Each of the {results.data.query_icons:,} held-out icons
was a query, once by its words and once by its picture.</p>
{scores}
<p>{escape(_verdict(results))}</p>
<h3>While it was trained</h3>
{_legend(results)}
<div class="figures">{by_epoch}</div>
{_epochs(results)}
<h3>From the first answer to the last</h3>
<p>Precision is the share of right icons among those retrieved so far; recall is the share of all right
icons that are among them. On the left only the nearest icon is retrieved, on the right all of them.</p>
{_legend(results)}
<div class="figures">{curves}</div>
"""


def twenty_searches(results: Results) -> str:
    """Single searches with their nearest answers, right ones marked."""
    blocks = []
    for direction in ORDER:
        shown = [search for search in results.searches if search.direction == direction]
        hits = [hit for search in shown for hit in search.hits]
        if not hits:
            continue
        title, text = _SEARCHES[direction]
        right, chance = sum(bool(hit.shared) for hit in hits), results.random_precision[direction] * len(hits)
        blocks.append(
            f"<h3>{escape(title)}</h3><p>{escape(text)} <strong>{right} of {len(hits)}</strong> answers are "
            f"right; a random pick would give about {chance:.0f}.</p>"
            + "".join(_search(results, one) for one in shown)
        )
    return f"""
<h2>What it finds</h2>
<p>The queries were drawn at random from the held-out icons, not chosen. The nearest codes come first; the
distance is the number of bits, of {results.settings.bits}, in which two codes differ. A tick and a solid
frame mark a right answer, with the categories that it shares with the query. A cross and a dashed frame
mark a wrong one.</p>
{"".join(blocks)}
"""


def _search(results: Results, search: Search) -> str:
    icon = results.icons[search.icon]
    asked = f"<p><b>{escape(search.icon)}</b></p>"
    if search.direction == "t2i":
        name, _, tags = icon.description.partition(", ")
        asked = f"<p><b>{escape(name)}</b>{escape(', ' + tags if tags else '')}</p>"
    hits = "".join(
        f'<li class="hit{"" if hit.shared else " wrong"}">{picture(results.icons[hit.icon])}'
        f"<b>{escape(hit.icon)}</b><em>{'✓ ' + listed(hit.shared) if hit.shared else '✗ none shared'}</em>"
        f"<small>{hit.distance} bit{'' if hit.distance == 1 else 's'} off</small></li>"
        for hit in search.hits
    )
    return (
        f'<section class="search" aria-label="{escape(search.icon)}"><div class="asked">{picture(icon)}'
        f'<div>{asked}<p class="soft">{listed(icon.categories)}</p></div></div>'
        f'<ol class="hits">{hits}</ol></section>'
    )


def _verdict(results: Results) -> str:
    by_name = {run.name: run for run in results.runs}
    full, random = by_name["full"], sum(results.random_map.values()) / 2
    text = f"In the mean the codes reach {full.mean_map / random:.1f} times the mAP of a random order. "
    if "clean" in by_name:
        gain = by_name["clean"].mean_map - full.mean_map
        text += f"Training on the true labels instead changes the mean by {gain:+.3f}. "
    if "unweighted" in by_name:
        gains = [full.map[direction] - by_name["unweighted"].map[direction] for direction in ORDER]
        text += (
            f"The confidence weights changed mAP by {gains[0]:+.3f} from words to pictures and by "
            f"{gains[1]:+.3f} from pictures to words. "
        )
    if "posterior" in by_name:
        gain = by_name["posterior"].mean_map - full.mean_map
        text += f"Posterior labels, which are ours and not the paper's, changed the mean by {gain:+.3f}. "
    return text + "This is one run with one seed: a small difference between two rows may be luck."


def _in_words(results: Results, direction: Direction) -> str:
    column = ORDER.index(direction)
    scores = (f"{title} {scores[column]:.2f}" for _, title, scores in score_rows(results))
    return f"{figures.TITLES[direction]}; mAP after the last epoch: {', '.join(scores)}."


def _legend(results: Results) -> str:
    there = {"random", *(run.name for run in results.runs)}
    items = "".join(
        f"<li>{figures.legend_mark(name)}{escape(title)}</li>"
        for name, (title, _) in figures.SERIES.items()
        if name in there
    )
    return f'<ul class="legend">{items}</ul>'


def _epochs(results: Results) -> str:
    columns = [(run, direction) for direction in ORDER for run in results.runs]
    head = "".join(
        f'<th scope="col">{ARROWS[direction]}, {escape(figures.SERIES[run.name][0])}</th>'
        for run, direction in columns
    )
    rows = []
    for epoch in range(results.settings.epochs):
        scores = [run.epochs[f"{direction}_map"][epoch] for run, direction in columns]
        cells = "".join(f"<td>{'none' if score is None else format(score, '.3f')}</td>" for score in scores)
        rows.append(f'<tr><th scope="row">{epoch + 1}</th>{cells}</tr>')
    content = f'<thead><tr><th scope="col">epoch</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
    return f"<details><summary>The numbers</summary>{table('mAP by epoch', content)}</details>"


def _bar(name: str, value: float) -> str:
    style = f"--value:{value:.4f};--tint:var(--{name})"
    return f'<td><div class="bar">{value:.3f}<i style="{style}" aria-hidden="true"></i></div></td>'
