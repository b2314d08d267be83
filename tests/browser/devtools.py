"""Headless Chromium through its own protocol, over a pipe: for pages that work in real time, which --dump-dom does not wait for.

with Browser(path) as browser:
    browser.open("file:///tmp/page.html")
    browser.until("document.title !== ''")
    browser.press("Tab")
"""

import json
import os
import select
import shutil
import subprocess
import tempfile
import time


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}

    def __init__(self, program: str):
        from_here, self._write = os.pipe()
        self._read, from_there = os.pipe()
        for end in (from_here, from_there):
            os.set_inheritable(end, True)
        self._profile = tempfile.mkdtemp()
        # The protocol's pipes are the files 3 and 4 of the browser.
        command = f'exec "$0" "$@" 3<&{from_here} 4>&{from_there}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-extensions", "--remote-debugging-pipe", "--host-resolver-rules=MAP * ~NOTFOUND",
             f"--user-data-dir={self._profile}", "about:blank"],
            pass_fds=(from_here, from_there), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(from_here)
        os.close(from_there)
        self._count, self._buffer, self._session = 0, b"", None
        self.events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for end in (self._read, self._write):
            os.close(end)
        shutil.rmtree(self._profile, ignore_errors=True)

    def _message(self, deadline: float):
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise EOFError("the browser ended")
            self._buffer += part
        text, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method: str, seconds: float = 120, **params):
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data[:65536]):]
        deadline = time.monotonic() + seconds
        while (answer := self._message(deadline)).get("id") != message["id"]:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def value(self, script: str):
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise RuntimeError(f"{script[:100]}: {details.get('exception', {}).get('description', details['text'])}")
        return result["result"].get("value")

    def until(self, condition: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not self.value(f"Boolean({condition})"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {seconds} s it does not hold: {condition}")
            time.sleep(0.05)

    def press(self, key: str) -> None:
        code = {"windowsVirtualKeyCode": self.KEYS[key], "key": key, "code": "Space" if key == " " else key}
        text = {"text": "\r"} if key == "Enter" else {"text": " "} if key == " " else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def screen(self, width: int, height: int, scheme: str = "light") -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def complaints(self) -> list[str]:
        """What the console said, errors that nothing caught, and requests that left the page's own file."""
        found = []
        for event in self.events:
            params = event.get("params", {})
            match event.get("method"):
                case "Runtime.consoleAPICalled":
                    found.append("console: " + " ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
                case "Runtime.exceptionThrown":
                    details = params["exceptionDetails"]
                    found.append("error: " + details.get("exception", {}).get("description", details["text"]))
                case "Log.entryAdded":
                    found.append("log: " + params["entry"]["text"])
                case "Network.requestWillBeSent":
                    if not params["request"]["url"].startswith(("file:", "blob:", "data:", "about:")):
                        found.append("request: " + params["request"]["url"])
        return found
