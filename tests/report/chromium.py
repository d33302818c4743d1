"""A real Chromium without a window, driven through its DevTools protocol."""

import asyncio
import base64
import itertools
import os
import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new", "--no-sandbox", "--remote-debugging-port=0", "--no-first-run",
    "--disable-extensions", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--force-device-scale-factor=1", "--no-proxy-server",
)  # fmt: skip
START_SECONDS = 60.0
QUIET_SECONDS = 0.15  # after the load, for whatever would still be asked for


def find() -> str:
    """The browser's path: $LOOM_TEST_CHROMIUM, or the first one on the PATH; skips without one."""
    if path := os.environ.get("LOOM_TEST_CHROMIUM"):
        return path
    for name in NAMES:
        if path := shutil.which(name):
            return path
    return pytest.skip("there is no Chromium here: `apt-get install chromium` brings one")


class Page:
    """One page; what it asks for and complains about is kept."""

    def __init__(self, socket, session):
        self._socket = socket
        self._session = session
        self._numbers = itertools.count(1)
        self._waiting = {}
        self._loaded = asyncio.Event()
        self.requests = []
        self.complaints = []

    async def listen(self):
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._waiting.pop(said["id"]).set_result(said)
                continue
            self._hear(said["method"], said.get("params", {}))

    def _hear(self, method, params):
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str(params["args"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Page.javascriptDialogOpening":
            self.complaints.append(f"dialog: {params['message']}")
        elif method == "Page.loadEventFired":
            self._loaded.set()

    async def ask(self, method, **params):
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        body = {"id": number, "method": method, "params": params}
        if self._session:
            body["sessionId"] = self._session
        await self._socket.send_json(body)
        said = await asyncio.wait_for(answer, START_SECONDS)
        assert "error" not in said, said
        return said["result"]

    async def attach(self):
        made = await self.ask("Target.createTarget", url="about:blank")
        found = await self.ask("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            await self.ask(f"{domain}.enable")

    async def open(self, path, *, width, dark=False, height=900):
        """Load a file; the viewport is so wide, in CSS pixels."""
        await self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self._loaded.clear()
        await self.ask("Page.navigate", url=Path(path).as_uri())
        await asyncio.wait_for(self._loaded.wait(), START_SECONDS)
        await asyncio.sleep(QUIET_SECONDS)

    async def run(self, script):
        """The value of an expression in the page."""
        said = await self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    async def shoot(self, *, most=16_000):
        """A picture of the whole page, as the bytes of a PNG."""
        about = await self.ask("Page.getLayoutMetrics")
        size = about["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "scale": 1,
                "height": min(size["height"], most)}  # fmt: skip
        said = await self.ask("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(said["data"])


@asynccontextmanager
async def browse(binary, folder):
    """A page in a new browser, whose profile is in `folder`."""
    log = (folder / "chromium.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        binary, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank",
        stdout=log, stderr=log,
        env={**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
    )  # fmt: skip
    try:
        port, path = await _address(process, folder / "profile" / "DevToolsActivePort")
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=0) as socket,
        ):
            page = Page(socket, None)
            listening = asyncio.create_task(page.listen())
            await page.attach()
            yield page
            page._session = None
            await page.ask("Browser.close")
            await listening
    finally:
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()
        log.close()


async def _address(process, file):
    for _ in range(int(START_SECONDS / 0.05)):
        if file.exists() and len(lines := file.read_text().splitlines()) == 2:
            return lines
        assert process.returncode is None, "Chromium ended before it began"
        await asyncio.sleep(0.05)
    raise AssertionError("Chromium did not begin in time")
