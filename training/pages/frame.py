"""HTML of the report: the frame with its style, for light and dark and for a phone, and small pieces."""

import base64
from collections.abc import Iterable

from scbch_keras.safe_text import html_text as escape
from scbch_keras.training.quickstart.results import Icon

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #1d2026; --soft: #565c68; --line: #d9d7d0;
  --full: #1f5fbf; --unweighted: #a8490b; --clean: #17724a; --random: #666c78; --corrupted: #a8490b;
  --posterior: #6d3fb5;
  --right: #14683f; --wrong: #9c2f2a; --right-paper: #e5f3ea; --wrong-paper: #f8eae8;
  --icon: none;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15171b; --card: #1e2127; --ink: #e9e7e2; --soft: #a9afbb; --line: #373c46;
    --full: #82b1ff; --unweighted: #ffae70; --clean: #6fd6a4; --random: #a4abb8; --corrupted: #ffae70;
    --posterior: #c3a6ff;
    --right: #7fdcae; --wrong: #ffa39b; --right-paper: #1b3027; --wrong-paper: #372322;
    --icon: invert(0.92);
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 1.0625rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
header, main, footer { max-width: 68rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 3rem; }
p, li { max-width: 46rem; }
h1, h2 { line-height: 1.2; letter-spacing: -0.015em; text-wrap: balance; }
h1 { font-size: clamp(1.8rem, 5vw, 2.7rem); margin: 0 0 1rem; max-width: 22em; }
h2 { font-size: 1.6rem; margin: 4rem 0 0.75rem; }
h3 { font-size: 1.15rem; margin: 2.25rem 0 0.5rem; }
.lead { font-size: 1.2rem; color: var(--soft); }
.soft, figcaption, caption { color: var(--soft); font-size: 0.925rem; }
code { font-size: 0.9em; overflow-wrap: anywhere; }
:focus-visible { outline: 3px solid var(--full); outline-offset: 2px; }

.facts, .legend, .strip, .hits, .suspects { list-style: none; padding: 0; }
.facts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(13.5rem, 1fr)); gap: 0.9rem; margin: 2rem 0;
}
.facts li {
  background: var(--card); border: 1px solid var(--line); border-radius: 0.75rem; padding: 1rem 1.1rem;
}
.facts strong { display: block; font-size: 2rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.facts span { display: block; color: var(--soft); font-size: 0.925rem; line-height: 1.45; }

.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: 0.5rem; }
th, td { text-align: left; padding: 0.55rem 0.9rem 0.55rem 0; border-bottom: 1px solid var(--line); }
thead th { font-size: 0.875rem; font-weight: 600; color: var(--soft); vertical-align: bottom; }
tbody th { font-weight: 500; }
tr.ours > * { font-weight: 700; }
.bar { display: flex; align-items: center; gap: 0.6rem; }
.bar i {
  height: 0.6rem; width: calc(var(--value) * 8rem); border-radius: 0.3rem; background: var(--tint);
}

.figures {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr));
  gap: 1rem 2rem; margin: 1.25rem 0 0.5rem;
}
figure { margin: 0; }
figure svg { display: block; width: 100%; height: auto; }
.legend { display: flex; flex-wrap: wrap; gap: 0.35rem 1.5rem; margin: 1rem 0 0; font-size: 0.925rem; }
.legend svg { width: 2.25rem; height: 0.65rem; margin-right: 0.5rem; fill: none; }
.swatch {
  display: inline-block; width: 1.6rem; height: 0.95rem; margin-right: 0.5rem; vertical-align: -0.1rem;
}
.swatch.clean {
  border: 2px solid var(--full); background: color-mix(in srgb, var(--full) 35%, transparent);
}
.swatch.corrupted {
  border: 2px dashed var(--corrupted);
  background: repeating-linear-gradient(135deg, var(--corrupted) 0 1.5px, transparent 1.5px 6px);
}

img { display: block; filter: var(--icon); }
.pixels { image-rendering: pixelated; border-radius: 0.4rem; }
.strip { display: flex; flex-wrap: wrap; gap: 0.9rem; margin: 1rem 0; }
.strip li { text-align: center; font-size: 0.85rem; color: var(--soft); }
.strip img { width: 6rem; height: 6rem; }

.search {
  display: grid; grid-template-columns: 15rem 1fr; gap: 1.25rem;
  border-top: 1px solid var(--line); padding: 1.1rem 0;
}
.asked { display: grid; grid-template-columns: 3rem 1fr; gap: 0 0.9rem; align-content: start; }
.asked img { width: 3rem; height: 3rem; }
.asked p { margin: 0 0 0.3rem; line-height: 1.35; overflow-wrap: anywhere; }
.hits {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(5.3rem, 1fr)); gap: 0.45rem; margin: 0;
}
.hit {
  border-radius: 0.6rem; border: 2px solid var(--right); background: var(--right-paper);
  padding: 0.55rem 0.25rem; font-size: 0.8rem; line-height: 1.3; text-align: center; overflow-wrap: anywhere;
}
.hit img { width: 2.4rem; height: 2.4rem; margin: 0 auto 0.35rem; }
.hit b, .hit em, .hit small { display: block; }
.hit b { font-weight: 600; font-size: 0.75rem; hyphens: auto; }
.hit em { font-style: normal; margin-top: 0.15rem; color: var(--right); }
.hit small { color: var(--soft); font-size: 0.75rem; margin-top: 0.15rem; }
.hit.wrong { border: 2px dashed var(--wrong); background: var(--wrong-paper); }
.hit.wrong em { color: var(--wrong); }

.suspects {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17.5rem), 1fr));
  gap: 0.8rem; margin: 1.25rem 0;
}
.suspect {
  display: grid; grid-template-columns: 3.2rem 1fr; gap: 0 0.9rem; align-items: start;
  background: var(--card); border: 1px solid var(--line); border-radius: 0.75rem; padding: 0.8rem 0.9rem;
  font-size: 0.9rem; line-height: 1.45;
}
.suspect img { width: 3.2rem; height: 3.2rem; }
.suspect p { margin: 0; }
.suspect .verdict { font-weight: 600; color: var(--right); }
.suspect.wrong .verdict { color: var(--wrong); }
del { color: var(--wrong); text-decoration-thickness: 2px; }
ins { color: var(--right); text-decoration-thickness: 2px; text-underline-offset: 3px; }

details { margin: 1rem 0; }
summary { cursor: pointer; font-weight: 600; }
dl { display: grid; grid-template-columns: minmax(9rem, auto) 1fr; gap: 0.3rem 1.5rem; font-size: 0.95rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
footer { margin-top: 4rem; padding-top: 1rem; padding-bottom: 3rem; border-top: 1px solid var(--line); }

@media (max-width: 44rem) {
  header { padding-top: 1.75rem; }
  h2 { margin-top: 3rem; }
  ol { padding-left: 1.4rem; }
  .search { grid-template-columns: 1fr; gap: 0.8rem; }
  .bar { display: block; }
  .bar i { display: block; width: calc(var(--value) * 100%); margin-top: 0.25rem; height: 0.4rem; }
  th, td { padding-right: 0.6rem; }
  .strip { gap: 0.7rem; }
  .strip img { width: 5.2rem; height: 5.2rem; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 0.6rem; }
}
@media print { .hit, .suspect, figure { break-inside: avoid; } }
"""


def document(title: str, header: str, body: str, footer: str, style: str = "") -> str:
    """One HTML document; `title` is text, `style` CSS beyond the house's, the others are HTML."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}{style}</style>
</head>
<body>
<header>
{header}
</header>
<main>
{body}
</main>
<footer>
{footer}
</footer>
</body>
</html>
"""


def picture(icon: Icon, name: str = "") -> str:
    """The icon as an image element, in which an SVG can neither run nor load anything."""
    content = base64.b64encode(icon.svg.encode()).decode()
    return f'<img src="data:image/svg+xml;base64,{content}" alt="{escape(name)}">'


def figure(svg: str, label: str, caption: str = "") -> str:
    """A drawing with the words that stand for it where it is not seen; `caption` is text."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><div role="img" aria-label="{escape(label)}">{svg}</div>{below}</figure>'


def table(label: str, content: str) -> str:
    """A table that scrolls by itself where the screen is narrow, also by keyboard."""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">'
        f"<table>{content}</table></div>"
    )


def fact_list(facts: Iterable[tuple[str, str]]) -> str:
    """Numbers in large type, each with what it says; both are text."""
    items = "".join(
        f"<li><strong>{escape(value)}</strong><span>{escape(text)}</span></li>" for value, text in facts
    )
    return f'<ul class="facts">{items}</ul>'


def listed(items: Iterable[str]) -> str:
    """Items with commas, escaped."""
    return escape(", ".join(items))


def percent(share: float) -> str:
    """A share in [0, 1] as whole percent, which no line break parts."""
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"
