"""A real browser for tests: Chromium without a window, over the DevTools protocol on two pipes.

No package is needed: messages are JSON, each ended by a NUL byte. Every wait has a time limit, and the
process group of the browser always ends with ``close``.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WAIT = 20.0  # seconds that any one answer may take

# The browser reads from descriptor 3 and writes to 4. Both ends are moved out of the way first.
_START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]]
os.dup2(ends[0], 3); os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--no-sandbox",  # refused to root and in containers; the pages are our own
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--mute-audio",
    "--force-color-profile=srgb",
    "--force-device-scale-factor=1",
    "--disable-features=IsolateSandboxedIframes",  # their frames answer in the session of the page
)
_KEYS = {" ": ("Space", 32), "Enter": ("Enter", 13), "Escape": ("Escape", 27), "Tab": ("Tab", 9)}


def program() -> str | None:
    """The path of a Chromium, if there is one on a system that has these pipes."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None) if os.name == "posix" else None


class BrowserError(Exception):
    """The browser refused a command, or said nothing in time."""


class Browser:
    """One browser process; ``page()`` opens a tab."""

    def __init__(self) -> None:
        self.profile = tempfile.mkdtemp(prefix="tinygraph-browser-")
        theirs_in, self.out = os.pipe()
        self.inn, theirs_out = os.pipe()
        command = [program(), *_FLAGS, f"--user-data-dir={self.profile}", "about:blank"]
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", _START, str(theirs_in), str(theirs_out), *command],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.rest, self.last, self.events, self.answers = b"", 0, [], {}

    def send(self, method, session=None, /, **params):
        """Send a command and wait for its answer; events that come meanwhile are kept."""
        return self.answer(self.post(method, session, **params), method)

    def post(self, method, session=None, /, **params) -> int:
        """Send a command; its number, by which to ask for the answer."""
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self.out, json.dumps(message).encode() + b"\0") if len(str(params)) < 30_000 else self._write(message)
        return message["id"]

    def answer(self, number: int, method: str):
        answer = self.wait(lambda: self.answers.pop(number, None), method)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _write(self, message) -> None:
        """A message larger than a pipe holds."""
        data = memoryview(json.dumps(message).encode() + b"\0")
        while data:
            data = data[os.write(self.out, data[:60_000]) :]

    def wait(self, found, what, limit=WAIT):
        """Read messages until ``found()`` gives something."""
        end = time.monotonic() + limit
        while not (value := found()):
            ready, _, _ = select.select([self.inn], [], [], max(0.0, end - time.monotonic()))
            chunk = os.read(self.inn, 1 << 20) if ready else b""
            if not chunk:
                raise BrowserError(f"the browser {'ended' if ready else 'was silent'} while waiting for {what}")
            *whole, self.rest = (self.rest + chunk).split(b"\0")
            for text in whole:
                message = json.loads(text)
                if "id" in message:
                    self.answers[message["id"]] = message
                else:
                    self.events.append(message)
        return value

    def page(self, width=1400, height=800) -> Page:
        return Page(self, width, height)

    def close(self) -> None:
        """End the browser and all its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(WAIT)
        os.close(self.out)
        os.close(self.inn)
        shutil.rmtree(self.profile, ignore_errors=True)


class Page:
    """A tab: what is on it, what it says on the console, what it requests."""

    def __init__(self, browser: Browser, width: int, height: int) -> None:
        self.browser = browser
        self.target = browser.send("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.send("Target.attachToTarget", targetId=self.target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.resize(width, height)

    def send(self, method, /, **params):
        return self.browser.send(method, self.session, **params)

    def events(self, *methods):
        """The parameters of the events of these kinds since the last ``open``."""
        return [
            event["params"]
            for event in self.browser.events
            if event.get("sessionId") == self.session and event["method"] in methods
        ]

    def open(self, url: str) -> None:
        """Load a page, and forget what the one before did. Another ``#fragment`` alone is no other page."""
        self.browser.events.clear()
        self.send("Page.navigate", url=url)
        self.browser.wait(lambda: self.events("Page.loadEventFired"), url)

    def js(self, expression: str):
        """The value of a JavaScript expression; a promise is waited for."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def until(self, expression: str, limit: float = 5.0) -> None:
        """Wait until a JavaScript expression holds."""
        end = time.monotonic() + limit
        while not self.js(expression):
            if time.monotonic() > end:
                raise BrowserError(f"it never came to be: {expression}")
            time.sleep(0.02)

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings on the console, exceptions that nobody caught, and what the browser logged."""
        said = [
            " ".join(str(argument.get("value", argument.get("description"))) for argument in call["args"])
            for call in self.events("Runtime.consoleAPICalled")
        ]
        thrown = [str(event["exceptionDetails"]) for event in self.events("Runtime.exceptionThrown")]
        return said + thrown + [event["entry"]["text"] for event in self.events("Log.entryAdded")]

    @property
    def requests(self) -> list[str]:
        """Addresses requested, the page's own included."""
        return [event["request"]["url"] for event in self.events("Network.requestWillBeSent")]

    def resize(self, width: int, height: int) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, **features: str) -> None:
        """What the reader prefers: ``color_scheme="dark"``, ``reduced_motion="reduce"``."""
        listed = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self.send("Emulation.setEmulatedMedia", features=listed)

    def key(self, key: str, shift: bool = False, times: int = 1) -> None:
        """Press and release a key of the keyboard, so many times."""
        code, number = _KEYS.get(key, (key, 0))
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        about = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": 8 * shift}
        down, up = {"type": "keyDown", "text": text, **about}, {"type": "keyUp", **about}
        method = "Input.dispatchKeyEvent"
        for number in [self.browser.post(method, self.session, **event) for _ in range(times) for event in (down, up)]:
            self.browser.answer(number, method)

    def mouse(self, kind: str, x: float, y: float, **more) -> None:
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def move(self, x: float, y: float) -> None:
        self.mouse("mouseMoved", x, y)

    def click(self, x: float, y: float) -> None:
        self.move(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.move(*start)
        self.mouse("mousePressed", *start, button="left", clickCount=1)
        for part in (0.25, 0.5, 1):
            x, y = (a + (b - a) * part for a, b in zip(start, end, strict=True))
            self.mouse("mouseMoved", x, y, button="left", buttons=1)
        self.mouse("mouseReleased", *end, button="left", clickCount=1)

    def wheel(self, x: float, y: float, amount: float) -> None:
        self.mouse("mouseWheel", x, y, deltaX=0, deltaY=amount)

    def box(self, selector: str) -> dict[str, float]:
        """The rectangle of an element on the screen: x, y, width, height."""
        return self.js(f"document.querySelector({json.dumps(selector)}).getBoundingClientRect().toJSON()")

    def middle(self, selector: str) -> tuple[float, float]:
        box = self.box(selector)
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def picture(self) -> bytes:
        """What is on the screen, as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        self.browser.send("Target.closeTarget", targetId=self.target)

    def frame(self):
        """A function that evaluates JavaScript in the page's frame, which may be of another origin."""
        main = self.send("Page.getFrameTree")["frameTree"]["frame"]["id"]

        def context():
            found = [event["context"] for event in self.events("Runtime.executionContextCreated")]
            return next((c["id"] for c in found if c["auxData"].get("frameId") != main), None)

        inside = self.browser.wait(context, "a frame")

        def js(expression: str):
            answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, contextId=inside)
            return answer["result"].get("value")

        return js
