"""The pictures of README and documentation, taken of the demo and of a home at a simulator: `python -m tools.pictures`.

It needs Chromium and its driver, takes two minutes, and writes to `docs/images/`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from pathlib import Path
from time import sleep
from typing import Final

import requests
from selenium import webdriver
from selenium.webdriver.common.by import By

from config.settings import PREFIX
from tests.support.browser import DESKTOP, PHONE, open_browser, set_screen, wait_for
from tests.support.waiting import until
from worker.domain.windows import PARIS
from worker.stores.child_processes import answers, free_port

IMAGES: Final = Path(__file__).parents[1] / "docs" / "images"
_RELEVE: Final = (sys.executable, "-m", "worker")
_LONGEST_S: Final = 300.0
_TEN_WEEKS: Final = 'value="70"'  # Days of half-hours, which the gateway gives on the first day.


def main() -> None:
    """Take all pictures."""
    with tempfile.TemporaryDirectory(prefix="releve-pictures-") as name:
        folder = Path(name)
        with open_browser(folder / "browser") as browser:
            with _running(folder / "demo", "demo") as log:
                until(lambda: "Ctrl-C ends" in log.read_text(), lambda: f"the demo: {log.read_text()}", _LONGEST_S)
                _take_demo(browser, log.read_text())
            _take_home(browser, folder / "home")


def _take_demo(browser: webdriver.Chrome, shown: str) -> None:
    browser.get(_address_after(shown, "the flat's page:"))
    _press(browser, "form[data-secret] button")
    _press(browser, "button[value=approve]")  # The consent page of the simulator.
    wait_for(browser, "kWh")
    page = browser.current_url.partition("?")[0]
    browser.get(f"{page.partition('/accounts/')[0]}/access")
    _press(browser, "form[action='/access/kept'] button")
    newest = _today() - timedelta(days=2)  # Before 08:00 yesterday's data is not there yet.
    last_month = _today().replace(day=1) - timedelta(days=1)
    _take(browser, "charts", f"{page}?lang=en&by=month&at={last_month:%Y-%m-01}", DESKTOP, 1080)
    _take(browser, "phone", f"{page}?lang=en&by=day&at={newest}", PHONE + 70, 1480)
    browser.get(_address_after(shown, "operator's page"))
    _press(browser, "form[action='/operator/link'] button")
    until(lambda: browser.current_url.endswith("/operator"), "the operator's page")
    _take(browser, "operator", f"{browser.current_url.partition('?')[0]}?lang=en", 1000, None)
    flower = _address_after(shown, "tasks in Flower:").rstrip(",").replace("://", "://releve:demo@")
    _take(browser, "flower", f"{flower}/tasks", DESKTOP, 844)


def _take_home(browser: webdriver.Chrome, folder: Path) -> None:
    port, pages = free_port(), free_port()
    gateway = f"http://127.0.0.1:{port}"
    # A home at noon: before 08:00 yesterday's data is not there yet.
    noon = datetime.combine(_today() - timedelta(days=1), time(12), PARIS)
    environment = {
        **_environment(),
        f"{PREFIX}HOME": "true",
        f"{PREFIX}PRETEND_NOW": noon.isoformat(),
        f"{PREFIX}GATEWAY_URL": f"{gateway}/api",
    }
    with _running(folder, "simulate", "--port", str(port), environment=environment):
        until(lambda: answers(f"{gateway}/gateway/token"), "the simulator", _LONGEST_S, not_yet=(OSError,))
        token = requests.get(f"{gateway}/gateway/token", timeout=30).text
        adding = [*_RELEVE, "home", "add", "--token", "-"]
        added = subprocess.run(
            [*adding, "--json"], cwd=folder, env=environment, input=token, stdout=subprocess.PIPE, text=True, check=True
        )
        (account,) = json.loads(added.stdout)["accounts"]
        address = f"http://127.0.0.1:{pages}"
        with _running(folder, "up", "--port", str(pages), environment=environment):
            until(lambda: answers(address), "the home's pages", _LONGEST_S, not_yet=(OSError,))
            page = f"{address}/accounts/{account['account']}"
            until(lambda: _TEN_WEEKS in requests.get(f"{page}?lang=en", timeout=30).text, "ten weeks", _LONGEST_S)
            for language in ("en", "fr"):
                _take(browser, f"home.{language}", f"{page}?lang={language}", 860, 1180)


@contextmanager
def _running(folder: Path, *words: str, environment: Mapping[str, str] | None = None) -> Iterator[Path]:
    """Run a command of Relève until the end of the block, and yield the file with its output."""
    folder.mkdir(exist_ok=True)
    log = folder / f"{words[0]}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_RELEVE, *words], cwd=folder, env=environment or _environment(), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield log
    finally:
        process.terminate()
        process.wait(60)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | {"COLUMNS": "400"}


def _address_after(shown: str, words: str) -> str:
    found = re.search(rf"{re.escape(words)}.*?(https?://\S+)", shown)
    if found is None:
        raise SystemExit(f"the demo shows no address after: {words}")
    return found[1]


def _press(browser: webdriver.Chrome, selector: str) -> None:
    """Press a button as soon as the page has it."""
    until(lambda: browser.find_elements(By.CSS_SELECTOR, selector), lambda: f"{selector} on {browser.current_url}")
    browser.find_element(By.CSS_SELECTOR, selector).click()


def _take(browser: webdriver.Chrome, name: str, address: str, width: int, height: int | None) -> None:
    """Take a picture of a page, of its full height if none is given."""
    set_screen(browser, width)
    browser.get(address)
    sleep(2)  # For what scripts draw.
    high = height or browser.execute_script("return document.documentElement.scrollHeight")
    metrics = {"width": width, "height": high, "deviceScaleFactor": 1, "mobile": width < DESKTOP // 2}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    sleep(1)
    browser.save_screenshot(str(IMAGES / f"{name}.png"))
    sys.stdout.write(f"docs/images/{name}.png\n")


def _today() -> date:
    return datetime.now(PARIS).date()


if __name__ == "__main__":
    main()
