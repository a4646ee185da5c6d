"""Debian's Chromium without a network. Where it is missing these tests fail: a page nobody opened is not tested."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

_SECONDS = 120.0
_OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")


class Browser:
    """A browser that opens pages from disk and says what they did.

    Args:
        driver: selenium's.
    """

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def show(self, page: Path, width: int = 1100, scheme: str = "light") -> None:
        """Open a page and wait until its figures are drawn."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.command("Emulation.setDeviceMetricsOverride", metrics)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.command("Emulation.setEmulatedMedia", {"media": "", "features": [feature]})
        self.console()  # of the page before
        self._driver.get(page.resolve().as_uri())
        until = time.monotonic() + _SECONDS
        while self.run("return document.documentElement.dataset.drawn") is None:
            assert time.monotonic() < until, f"the figures are not drawn: {self.console()}"
            time.sleep(0.05)

    def command(self, name: str, arguments: dict[str, Any]) -> Any:
        """A command of Chromium's own protocol."""
        return self._driver.execute_cdp_cmd(name, arguments)

    def run(self, script: str) -> Any:
        """What a script gives on the page."""
        return self._driver.execute_script(script)

    def console(self) -> list[str]:
        """What was written to the console since this was asked last."""
        return [entry["message"] for entry in self._driver.get_log("browser")]

    def open(self, address: str) -> None:
        """Go to an address; the console of the page before is forgotten."""
        self.console()
        self._driver.get("about:blank")  # an address that differs after its # alone would not load anything
        self._driver.get(address)

    def until(self, found: Callable[[], Any], what: str, seconds: float = _SECONDS) -> Any:
        """Wait until something is there, and give it."""
        until = time.monotonic() + seconds
        while not (value := found()):
            assert time.monotonic() < until, f"{what}: not there after {seconds:.0f} s"
            time.sleep(0.1)
        return value

    def wait(self, script: str, what: str) -> Any:
        """Wait until a script gives something."""
        return self.until(lambda: self.run(script), what)

    @contextmanager
    def inside(self, frame: str) -> Iterator[None]:
        """Scripts run in a frame of the page."""
        self._driver.switch_to.frame(self._driver.find_element("css selector", frame))
        try:
            yield
        finally:
            self._driver.switch_to.default_content()


@contextmanager
def started() -> Iterator[Browser]:
    """A browser, ended afterwards."""
    paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in paths:
        pytest.fail(
            "no chromium and chromedriver: apt-get install chromium chromium-driver (.ci/run does it)"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = str(paths[0])
    for option in _OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(paths[1])))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a file of tests, without a network."""
    with started() as found:
        found.command("Network.enable", {})
        offline = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        found.command("Network.emulateNetworkConditions", offline)
        yield found
