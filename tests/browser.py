"""A headless Chromium without a network: told what to do by the DevTools protocol, over a pipe.

Source: https://chromedevtools.github.io/devtools-protocol/.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select
from time import monotonic
from typing import Any

from tests.sites import ROOT

_PROGRAM = "chromium-headless-shell"
_PATIENCE = 60.0
_KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), "ArrowRight": (39, ""), "ArrowDown": (40, "")}


class Page:
    """One page. ``events`` are all that the browser told of it, besides answers."""

    def __init__(self, to: int, of: int) -> None:
        self._to, self._of, self._number, self._buffer = to, of, 0, b""
        self.events: list[dict[str, Any]] = []
        self._session: str | None = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> Any:
        """The answer to a command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (told := self._next()).get("id") != self._number:
            self.events.append(told)
        assert "error" not in told, told
        return told["result"]

    def _next(self) -> dict[str, Any]:
        until = monotonic() + _PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select([self._of], [], [], until - monotonic())
            assert ready, "the browser says nothing"
            read = os.read(self._of, 1 << 20)
            assert read, "the browser has ended"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        told: dict[str, Any] = json.loads(message)
        return told

    def open(self, file: Path, *, scripts: bool = True, scheme: str = "light", width: int = 1280) -> None:
        """Load a file as a reader with such a screen and such wishes sees it."""
        self.ask("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        mobile = width < 600
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=mobile)
        self.events.clear()
        self.ask("Page.navigate", url=file.resolve().as_uri())
        until = monotonic() + _PATIENCE
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            assert monotonic() < until
            self.events.append(self._next())

    def value(self, expression: str) -> Any:
        """What an expression is in the page; also where the page's own scripts are off."""
        told = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key."""
        code, text = _KEYS[key]
        about: dict[str, Any] = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {}))
        self.ask("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, text: str) -> None:
        """Write into what has the focus."""
        self.ask("Input.insertText", text=text)

    def screenshot(self, file: Path) -> None:
        """The whole page as a picture."""
        told = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(told["data"]))

    def complaints(self) -> list[str]:
        """What a developer would see in the console."""
        names = {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"}
        return [json.dumps(event["params"]) for event in self.events if event["method"] in names]

    def requests(self) -> list[str]:
        """The addresses that it asked for, but for what its own policy stopped."""
        sent = (event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent")
        ended = (event["params"] for event in self.events if event["method"] == "Network.loadingFailed")
        stopped = {one["requestId"] for one in ended if one.get("blockedReason") == "csp"}
        return [one["request"]["url"] for one in sent if one["requestId"] not in stopped]


def script(name: str) -> Path:
    """A script for browsers that somebody else wrote."""
    done = subprocess.run([ROOT / "tests" / "fetch-browser-scripts"], check=True, capture_output=True, text=True)
    return Path(done.stdout.strip()) / name


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A browser in a network namespace that leads nowhere, with its files in a folder."""
    its_in, to = os.pipe()
    of, its_out = os.pipe()
    arguments = (
        "--no-sandbox --remote-debugging-pipe --disable-gpu --disable-dev-shm-usage --disable-background-networking "
        f"--no-first-run --disable-extensions --user-data-dir={folder}/profile --font-render-hinting=none about:blank"
    )
    # The browser's ends are its descriptors 3 and 4, which a shell puts there.
    command = f"exec unshare --net {_PROGRAM} {arguments} 3<&{its_in} 4>&{its_out}"
    process = subprocess.Popen(
        ["bash", "-c", command],
        pass_fds=(its_in, its_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(folder)},
        start_new_session=True,
    )
    os.close(its_in)
    os.close(its_out)
    try:
        yield Page(to, of)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(_PATIENCE)
        os.close(to)
        os.close(of)
