"""Drive a headless Chromium through a pipe, in its own protocol, without a package for it."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

LIMIT_S = 60.0


class Browser:
    """Open one page and look at it."""

    def __init__(self, binary: str, folder: Path) -> None:
        (theirs_in, self._out), (self._in, theirs_out) = os.pipe(), os.pipe()
        # the browser reads commands from descriptor 3 and answers on 4
        place = f'exec {binary} "$@" 3<&{theirs_in} 4>&{theirs_out}'
        options = (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
            f"--user-data-dir={folder}",
            "about:blank",
        )
        self._process = subprocess.Popen(
            ["bash", "-c", place, "chromium", *options],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._read = b""
        self._count = 0
        self.events: list[dict[str, Any]] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(one["targetId"] for one in targets if one["type"] == "page")
        self._session: str | None = self.call("Target.attachToTarget", targetId=page, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its answer."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if (session := getattr(self, "_session", None)) is not None:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self.events.append(answer)

    def open(
        self,
        file: Path,
        *,
        width: int = 1100,
        height: int = 900,
        dark: bool = False,
        query: str = "",
        ready: str = "document.documentElement?.dataset.drawn || ''",
    ) -> None:
        """Show a file until `ready` is true in it, by default until its curves are drawn."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = "dark" if dark else "light"
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.events.clear()
        self.value("window.isOld = true")  # a page that is being left is complete, too
        self.call("Page.navigate", url=file.as_uri() + query)
        end = time.monotonic() + LIMIT_S
        while not self.value(f"!window.isOld && ({ready})"):
            assert time.monotonic() < end, [one for one in self.events if "Log" in str(one)]
            time.sleep(0.05)

    def value(self, expression: str) -> Any:
        """Evaluate an expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def picture(self, file: Path) -> None:
        """Write a picture of the whole page."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(found["data"]))

    def troubles(self) -> list[str]:
        """List what the browser has complained about, and addresses beside the page itself."""
        self.value("0")
        found = []
        for one in self.events:
            method, params = one.get("method"), one.get("params", {})
            if method == "Log.entryAdded":
                found.append(params["entry"]["text"])
            elif method == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"].get("exception")))
            elif method == "Network.requestWillBeSent":
                url = params["request"]["url"]
                found += [url] if params.get("type") != "Document" else []
        return found

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + LIMIT_S
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._in], [], [], max(end - time.monotonic(), 0))
            assert ready, "Chromium does not answer"
            piece = os.read(self._in, 1 << 16)
            assert piece, "Chromium has ended"
            self._read += piece
        message, _, self._read = self._read.partition(b"\0")
        return dict(json.loads(message))


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Run the installed Chromium; skip the test where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if found is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    browser = Browser(found, folder)
    try:
        yield browser
    finally:
        browser.close()
