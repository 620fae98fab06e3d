"""A real browser without a window: Debian's chromium, driven by its DevTools protocol over two pipes; no library, no port.

Whatever the page asks of the network, writes to the console or throws is kept, so that tests can say that it did not.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

COMMAND = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe",
           "--no-first-run", "--disable-extensions", "--disable-background-networking",
           "--disable-component-update", "--disable-dev-shm-usage",
           "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]         # whatever a page asks for, it does not get
PATIENCE = 120.0         # seconds


class Refused(Exception):
    """The browser does not do what it was asked."""


class Browser:
    """One process, one page."""

    def __init__(self, folder: Path) -> None:
        """Start it; ``folder`` is where it keeps what it must."""
        (reads, self._out), (self._in, writes) = os.pipe(), os.pipe()
        far = [fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in (reads, writes)]      # out of the way of 3 and 4, which it takes
        command = ["bash", "-c", f'exec "$@" 3<&{far[0]} 4>&{far[1]}', "bash", *COMMAND, f"--user-data-dir={folder}",
                   "about:blank"]
        self._process = subprocess.Popen(command, pass_fds=far, start_new_session=True, stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                         env={**os.environ, "HOME": str(folder)})
        for one in (reads, writes, *far):
            os.close(one)
        self._rest = b""
        self._numbers = itertools.count(1)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._session = ""
        target = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """End it, and all that it has started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and wait for its answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": self._session} if self._session else {})
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            heard = self._hear()
            if heard.get("id") == number:
                if "error" in heard:
                    raise Refused(f"{method}: {heard['error']}")
                return heard["result"]

    def _hear(self) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, until - time.monotonic()))
            data = os.read(self._in, 1 << 20) if ready else b""
            assert data, "the browser has ended" if ready else f"the browser has not answered for {PATIENCE} s"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        heard = json.loads(message)
        self._note(heard.get("method", ""), heard.get("params", {}))
        return heard

    def _note(self, method: str, parameters: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent" and not parameters["request"]["url"].startswith("data:"):
            self.requests.append(parameters["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(one.get("value", one.get("description"))) for one in parameters["args"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.complaints.append(parameters["entry"]["text"])

    # As a user

    def look(self, width: int, height: int, dark: bool = False) -> None:
        """Make the window so large, on a desktop that is light or dark."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> float:
        """Open a page, and give the time until it has been drawn [s]."""
        start = time.perf_counter()
        self.call("Page.navigate", url=url)
        self.wait_for(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(url)})")
        self.drawn()
        return time.perf_counter() - start

    def evaluate(self, expression: str) -> Any:
        """Give the value of a JavaScript expression, if need be when its promise is kept."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"].get("exception", {}).get("description")
        return done["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true, also if the page that it is asked of goes meanwhile."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with contextlib.suppress(Refused):
                if self.evaluate(expression):
                    return
        raise AssertionError(f"after {PATIENCE} s it is still not so: {expression}")

    def drawn(self) -> None:
        """Wait until what has changed is on the screen; charts say themselves when they are complete."""
        self.evaluate("""new Promise(done => {
            const look = () => document.querySelector('[aria-busy="true"]') ? requestAnimationFrame(look) : done(0);
            requestAnimationFrame(() => requestAnimationFrame(look));
        })""")

    def click(self, selector: str, text: str = "", times: int = 1) -> None:
        """Click with the mouse on what is seen of the first element that fits, and has ``text`` in it."""
        place = self.evaluate(f"""(() => {{
            const fitting = [...document.querySelectorAll({json.dumps(selector)})];
            const found = fitting.find(one => one.textContent.includes({json.dumps(text)}));
            if (!found) return null;
            found.scrollIntoView({{block: "nearest"}});
            const box = found.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
            const top = document.elementFromPoint(x, y);
            return found.contains(top) ? [x, y] : "covered by " + (top && top.outerHTML.slice(0, 200));
        }})()""")
        assert isinstance(place, list), f"{selector} {text!r}: {place or 'not there'}"
        self.click_at(*place, times=times)

    def click_at(self, x: float, y: float, times: int = 1) -> None:
        """Click at a place of the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for count in range(1, times + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=count)
        self.drawn()

    def press(self, key: str) -> None:
        """Press a key by its name, such as Enter, ArrowDown or a letter."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        codes = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9}
        code = codes.get(key, ord(key[0].upper()))
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)
        self.drawn()

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)
        self.drawn()

    def screenshot(self) -> bytes:
        """Give what is seen, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
