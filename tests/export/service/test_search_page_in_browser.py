"""The search page of `scbch demo` in a real browser, and what axe-core finds in it and in the written pages."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from scbch_keras.training.pages.audit_page import write_audit_page
from scbch_keras.training.pages.run_report import write_run_report
from scbch_keras.training.quickstart.report import write_report
from tests.browser import tab
from tests.export.service.gallery import HOSTILE
from tests.labels.test_audit import by_hand
from tests.training.pages.finished_run import finished_run, write_pictures
from tests.training.quickstart.test_report import _results

pytestmark = [pytest.mark.numpy_only, pytest.mark.slow, pytest.mark.waits]


def shown(browser, count):
    browser.wait(
        f"document.querySelectorAll('.card').length === {count} && !document.querySelector('.waiting')"
    )


def check_on_paper(browser):
    """White, nothing cut off at the side, and pairs of figures beside each other, dark as the system may be."""
    browser.look(700, 900, dark=True)
    browser.send("Emulation.setEmulatedMedia", media="print")
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.evaluate("document.documentElement.scrollWidth") <= 700
    rows = browser.evaluate(
        "[...document.querySelectorAll('.figures:not(.single)')].map((figures) =>"
        " [...figures.children].slice(0, 2).map((one) => Math.round(one.getBoundingClientRect().top)))"
    )
    assert all(len(set(row)) == 1 for row in rows), rows
    browser.send("Emulation.setEmulatedMedia", media="")


def test_in_a_real_browser(demo, gallery, tmp_path):
    write_report(_results(), tmp_path / "report.html")
    write_audit_page(by_hand(), tmp_path / "audit.html", "pets")
    run = finished_run(tmp_path / "run", write_pictures(tmp_path / "data"))
    write_run_report(run.path)
    shots = Path(os.environ.get("SCBCH_SCREENSHOTS", tmp_path))
    with tab() as browser:
        browser.look(1280, 900, dark=False)
        browser.open(f"{demo}/")
        shown(browser, 24)
        assert "40 pictures, a code of 12 bits each" in browser.text()

        # Words by keyboard: "/" goes there, the arrows walk through the results, Enter finds more like one.
        browser.evaluate("document.activeElement.blur()")
        browser.press("/")
        browser.type("zebra dog")
        browser.press("Enter")
        browser.wait(
            "document.getElementById('status').textContent.startsWith('The 24 nearest of 40 pictures')"
        )
        assert "“zebra” is not a word of this release and was left out." in browser.text()
        assert "the Hamming distance, in how many of their 12 bits two codes differ" in browser.text()
        browser.wait("[...document.images].some((image) => image.complete && image.naturalWidth > 0)")
        assert browser.evaluate("document.querySelectorAll('.card img').length") > 10
        assert not browser.axe()
        browser.screenshot(shots / "words.png")
        browser.press("ArrowDown")
        browser.press("ArrowRight")
        browser.press("ArrowRight")
        browser.press("ArrowLeft")
        assert (
            browser.evaluate("[...document.querySelectorAll('.like')].indexOf(document.activeElement)") == 1
        )
        browser.press("Enter")
        browser.wait("document.getElementById('query').textContent.startsWith('More like')")
        browser.evaluate("history.back()")
        browser.wait("document.getElementById('words').value === 'zebra dog'")
        shown(browser, 24)

        # The filter, and showing more.
        browser.evaluate(
            "(() => { const label = document.getElementById('label'); label.value = '2';"
            " label.dispatchEvent(new Event('change')); })()"
        )
        shown(browser, 8)
        assert "The 8 nearest of 8 pictures with the label sea" in browser.text()
        browser.evaluate(
            "document.getElementById('label').value = ''; document.getElementById('form').requestSubmit()"
        )
        shown(browser, 24)
        browser.evaluate("document.getElementById('more').click()")
        shown(browser, 40)
        assert HOSTILE.replace("\u202e", "\\u202e") in browser.text()

        # Only unknown words.
        browser.evaluate(
            "document.getElementById('words').value = ''; document.getElementById('words').focus()"
        )
        browser.type("zebra")
        browser.press("Enter")
        shown(browser, 0)
        assert (
            "“zebra” is not a word of this release: there is nothing to search for. Try other words"
            in browser.text()
        )
        assert not browser.axe()

        # A picture dropped, pasted, and something that is none.
        browser.drop(gallery / "7.png")
        browser.wait("document.getElementById('query').textContent.includes('Your picture, 7.png')")
        shown(browser, 24)
        assert "distance 0 of 12 bits" in browser.text()
        assert "a dog on the beach, 7" in browser.text()
        assert "by chance" in browser.text()
        assert not browser.axe()
        browser.drop(gallery / "table.csv")
        browser.wait("!document.getElementById('notice').hidden")
        assert "That is no picture file. Drop a picture" in browser.text()
        browser.drop(gallery / "38.png")
        browser.wait("document.getElementById('notice').textContent.includes('Take another picture')")

        # The other looks: what is seen is dark where it should be, and nothing is wider than a phone.
        browser.look(390, 844, dark=True)
        browser.open(f"{demo}/?q=dog")
        shown(browser, 24)
        assert browser.evaluate("document.documentElement.scrollWidth") <= 390
        assert not browser.axe()
        corner = (
            Image.open(io.BytesIO(browser.screenshot(shots / "phone-dark.png"))).convert("L").getpixel((3, 3))
        )
        assert corner < 60
        outside = [at for at in browser.requests if not at.startswith((f"{demo}/", "blob:", "data:"))]
        assert outside in ([], ["about:blank"])
        refusals = [fault for fault in browser.faults if "status of 4" not in str(fault)]
        assert not refusals

        browser.open(f"{demo}/docs")
        browser.wait("document.body.innerText.includes('POST /search')")
        assert not browser.axe()
        for page in ("report", "audit", "run/report"):
            browser.open(f"file://{tmp_path / page}.html")
            assert not browser.axe(), page
            browser.look(1280, 900, dark=False)
            assert not browser.axe(), page
            browser.look(390, 844, dark=True)
            assert browser.evaluate("document.documentElement.scrollWidth") <= 390, page
            check_on_paper(browser)
        assert not [
            fault for fault in browser.faults if fault not in refusals and "status of 4" not in str(fault)
        ]
