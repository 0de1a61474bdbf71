"""The look of the documentation's site, in a browser, and what axe-core finds in it; skipped without the extra docs."""

import shutil
from pathlib import Path

import pytest

from tests.browser import tab

mkdocs = pytest.importorskip("mkdocs")
pytest.importorskip("material")
pytestmark = [pytest.mark.numpy_only, pytest.mark.slow, pytest.mark.waits]
DOCS = Path(__file__).parents[1] / "docs"
LONG = " ".join(f"word{number}" for number in range(60))
PAGE = f"""# What stands on pages

Text with `code`, a [link](#a-table) and "quotes".

```python
import numpy  # a comment that says why
print("{LONG}", 3)
```

```bash
scbch train {LONG}
```

## A table

| | one | two |
| --- | --- | --- |
| row | {"_".join(LONG.split())} | `2` |
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    (folder / "docs").mkdir()
    for name in ("site.css", "site.js"):
        shutil.copyfile(DOCS / name, folder / "docs" / name)
    (folder / "docs" / "index.md").write_text(PAGE, encoding="utf-8")
    places = {"docs_dir": str(folder / "docs"), "site_dir": str(folder / "site")}
    file = str(DOCS.parent / "mkdocs.yml")
    build(load_config(file, **places, plugins=["search"], nav=[{"Start": "index.md"}], strict=False))
    return folder / "site" / "index.html"


def test_a_page_can_be_read_and_used_by_all_in_every_look(page):
    with tab() as browser:
        for width, dark in ((1280, False), (1280, True), (390, True)):
            browser.look(width, 900, dark)
            browser.open(page.as_uri())
            # The theme keeps the look of the first visit.
            browser.evaluate("localStorage.clear()")
            browser.open("about:blank")
            browser.open(page.as_uri())
            scheme = "slate" if dark else "default"
            browser.wait(f"document.body.dataset.mdColorScheme === '{scheme}'")
            browser.wait("document.querySelector('pre > code').tabIndex === 0")
            assert browser.axe() == []
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
