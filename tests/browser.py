"""Chromium, driven by its own protocol over a pipe: pages as a person sees and uses them, and axe-core's opinion."""

import base64
import contextlib
import json
import os
import selectors
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.servers import npm_package, program

AXE = "axe-core@4.14.1"
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run "  # noqa: SIM905
    "--disable-background-networking --disable-component-update --disable-sync --remote-debugging-pipe".split()
)
_PATIENCE = 60.0
_KEYS = {
    **{"Enter": (13, "\r"), "Escape": (27, None), "/": (191, "/")},
    **{"ArrowLeft": (37, None), "ArrowUp": (38, None), "ArrowRight": (39, None), "ArrowDown": (40, None)},
}


class Tab:
    """One tab of a running browser.

    requests: addresses that it asked for. faults: what it wrote to its console as errors, broken policies too.
    """

    def __init__(self, reading, writing):
        self._reading, self._writing, self._rest, self._number = reading, writing, b"", 0
        self.requests, self.faults = [], []
        self._session = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method, **parameters):
        """What a command of the protocol answers."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _PATIENCE
        while (answer := self._next(deadline)).get("id") != self._number:
            self._note(answer)
        if "error" in answer:
            pytest.fail(f"{method}: {answer['error']}")
        return answer["result"]

    def _next(self, deadline):
        with selectors.DefaultSelector() as ready:
            ready.register(self._reading, selectors.EVENT_READ)
            while b"\0" not in self._rest:
                if not ready.select(max(0, deadline - time.monotonic())):
                    pytest.fail(f"Chromium said nothing in {_PATIENCE} s")
                part = os.read(self._reading, 2**20)
                if not part:
                    pytest.fail("Chromium has ended")
                self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        method, given = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.faults.append(given["exceptionDetails"])
        elif method == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.faults.append(given["entry"])

    def evaluate(self, expression):
        """The value of an expression in the page, as JSON has it; promises are waited for."""
        answer = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            pytest.fail(f"{expression[:200]}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, expression):
        """Wait until the expression is true in the page."""
        deadline = time.monotonic() + _PATIENCE
        while not self.evaluate(expression):
            if time.monotonic() > deadline:
                pytest.fail(f"not in {_PATIENCE} s: {expression}; the page: {self.text()[:2000]}")
            time.sleep(0.02)

    def open(self, address):
        """Go to an address, until the page and what it names is loaded."""
        self.send("Page.navigate", url=address)
        self.wait(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(address)})")

    def text(self):
        return self.evaluate("document.body.innerText")

    def type(self, text):
        """Text into what has the focus."""
        self.send("Input.insertText", text=text)

    def press(self, key):
        code, text = _KEYS[key]
        more = {} if text is None else {"text": text}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **more)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def drop(self, path):
        """A file of the disk onto the middle of the page."""
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.send("Input.dispatchDragEvent", type=kind, x=200, y=200, data=data)

    def look(self, width, height, dark):
        """The window's size in CSS pixels, and whether the system is in its dark mode."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path=None):
        """The window as a PNG file, its bytes; also written to `path`."""
        content = base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])
        if path is not None:
            Path(path).write_bytes(content)
        return content

    def axe(self):
        """What axe-core finds wrong with the page: (rule, where) of each violation."""
        source = npm_package(AXE) / "axe.min.js"
        self.evaluate(f"{source.read_text(encoding='utf-8')};0")
        found = self.evaluate(
            "axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations)"
        )
        return [
            (one["id"], node["html"][:160], node["failureSummary"]) for one in found for node in one["nodes"]
        ]


@contextlib.contextmanager
def tab():
    """A tab in a browser of its own."""
    chromium = program("chromium", "chromium-browser", "google-chrome")
    commands, answers = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, tempfile.TemporaryFile() as log:
        # The protocol is spoken over the files 3 and 4. (dash knows files of one digit alone.)
        start = f'exec "$@" 3<&{commands[0]} 4>&{answers[1]}'
        browser = subprocess.Popen(
            [program("bash"), "-c", start, "bash", chromium, *_FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(commands[0], answers[1]),
            stdout=log,
            stderr=log,
        )
        os.close(commands[0])
        os.close(answers[1])
        try:
            yield Tab(answers[0], commands[1])
        finally:
            browser.terminate()
            browser.wait()
            os.close(answers[0])
            os.close(commands[1])
