"""A headless browser, over the DevTools protocol: as much of it as these tests need."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PLACES = (
    "/usr/lib/chromium/chromium",
    "/snap/bin/chromium",
    "/opt/google/chrome/chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
_PATIENCE = 60.0  # seconds; the cores may be busy with other tests


def find_browser() -> str | None:
    """Returns the path of a Chromium or Chrome, if there is one."""
    named = [shutil.which(name) for name in _NAMES]
    found = [path for path in (*named, *_PLACES) if path and os.access(path, os.X_OK)]
    return found[0] if found else None


def wait(what: Callable[[], Any]) -> Any:
    """Waits until something is true, and returns it."""
    end = time.monotonic() + _PATIENCE
    while not (found := what()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


class Browser:
    """One page in a browser without a window."""

    def __init__(self, program: str, home: Path):
        """Starts the browser with a profile of its own in a folder."""
        options = [
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-dev-shm-usage", "--disable-background-networking"),
            *("--remote-debugging-port=0", f"--user-data-dir={home}"),
            *("--hide-scrollbars", "--window-size=1200,800", "about:blank"),
        ]
        self._process = subprocess.Popen(
            [program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._count = 0
        self.requested: list[str] = []
        self.errors: list[str] = []
        port_file = home / "DevToolsActivePort"
        try:
            lines = wait(
                lambda: port_file.exists() and port_file.read_text().split("\n")[1:]
            )
            port = port_file.read_text().split("\n")[0]
            self._socket = connect(
                f"ws://127.0.0.1:{port}{lines[0]}", max_size=None, compression=None
            )
            self._session = None
            (target,) = [
                one
                for one in self.call("Target.getTargets")["targetInfos"]
                if one["type"] == "page"
            ]
            attached = self.call(
                "Target.attachToTarget", targetId=target["targetId"], flatten=True
            )
            self._session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.call(f"{domain}.enable")
            self.resize(1200, 800)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def close(self) -> None:
        """Ends the browser."""
        self._socket.close()
        self._process.terminate()
        self._process.wait(_PATIENCE)

    def call(self, method: str, **params: Any) -> Any:
        """Sends a command and returns its result; notes what happens meanwhile."""
        self._count += 1
        order: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            order["sessionId"] = self._session
        self._socket.send(json.dumps(order))
        while True:
            message = json.loads(self._socket.recv(timeout=_PATIENCE))
            if message.get("id") == self._count:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        event, params = message.get("method"), message.get("params", {})
        if event == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        elif event == "Log.entryAdded" and params["entry"]["source"] == "security":
            self.errors.append(params["entry"]["text"])

    def open(self, url: str) -> None:
        """Opens an address and waits until the points are drawn."""
        self.requested.clear()
        self.errors.clear()
        self.call("Page.navigate", url=url)
        self.wait_for("typeof state !== 'undefined' && state.frames > 0")

    def run(self, script: str) -> Any:
        """Returns the value of an expression in the page."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """Waits until an expression in the page is true."""
        return wait(lambda: self.run(script))

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Moves, presses or releases the mouse, or turns its wheel."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        """Clicks at a place of the page."""
        self.mouse("mouseMoved", x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def press(self, key: str, **more: Any) -> None:
        """Presses a key; Shift is `modifiers=8`."""
        codes = {"Enter": 13, "Escape": 27, "Tab": 9}
        code = codes.get(key, 0)
        common = {"key": key, "windowsVirtualKeyCode": code, **more}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def write(self, text: str) -> None:
        """Types text into what has the focus."""
        self.call("Input.insertText", text=text)

    def dark(self, is_dark: bool) -> None:
        """Asks for a dark or light page."""
        feature = {
            "name": "prefers-color-scheme",
            "value": "dark" if is_dark else "light",
        }
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def resize(self, width: int, height: int) -> None:
        """Sets the page's size."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def picture(self) -> bytes:
        """Returns a PNG of the page."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])
