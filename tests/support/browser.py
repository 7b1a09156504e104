"""A headless Chromium for tests: Debian's own, never a download. Without it, tests are skipped, but fail in CI.

Several persons can use one Chromium (``open_profile``), each with their own cookies, because starting one takes a
second. ``look_at`` checks a page as people see it, on a phone and on a small desktop. With RELEVE_TEST_SCREENSHOTS, the
name of a folder, it also keeps pictures of each.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.axe import ALL_RULES, COLOURS, find_barriers
from tests.support.missing import skip
from tests.support.waiting import until

PHONE, SMALL_DESKTOP, DESKTOP = 320, 1000, 1280  # Widths in pixels.
_FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",  # Tests may run as root.
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--js-flags=--no-opt --no-maglev",  # Pages are too short-lived for optimised code to pay off.
)
# Width, whether in dark colours, and axe's rules: all rules in light colours, and only those of colours in dark ones.
_LOOKS: Final = ((PHONE, False, ALL_RULES), (SMALL_DESKTOP, True, COLOURS))
_PICTURES: Final = ((PHONE, False), (PHONE, True), (DESKTOP, False), (DESKTOP, True))
VARIABLE: Final = "RELEVE_TEST_SCREENSHOTS"
_SCREENSHOTS: Final = os.environ.get(VARIABLE)


@contextmanager
def open_browser(folder: Path) -> Iterator[webdriver.Chrome]:
    """Open a new browser. ``folder`` holds its files."""
    # The shell is Chromium's engine without the rest of the browser, and takes half of its processor time.
    chromium = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        skip("no browser: apt-get install chromium-headless-shell chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*_FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.enable_bidi = True  # For open_profile.
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        browser.get_log("browser")  # Discards messages about the browser's start.
        yield browser
    finally:
        browser.quit()


@dataclass(frozen=True)
class Profile:
    """One person's cookies in the browser, and the language and width of that person's windows."""

    context: str
    language: str
    width: int

    def open_tab(self, browser: webdriver.Chrome) -> str:
        """Open a tab for this person, switch to it, and return its handle."""
        handle: str = browser.browsing_context.create(type="tab", user_context=self.context)
        browser.switch_to.window(handle)
        agent = browser.execute_script("return navigator.userAgent")
        wished = {"userAgent": agent, "acceptLanguage": self.language}
        browser.execute_cdp_cmd("Emulation.setUserAgentOverride", wished)
        set_screen(browser, self.width)
        return handle


@contextmanager
def open_profile(browser: webdriver.Chrome, *, language: str = "fr", width: int = DESKTOP) -> Iterator[Profile]:
    """Act as another person, who has no cookies yet, until the block ends."""
    handle_before = browser.current_window_handle
    profile = Profile(browser.browser.create_user_context(), language, width)
    browser.get_log("browser")  # Discards messages about other persons' pages.
    profile.open_tab(browser)
    try:
        yield profile
    finally:
        browser.switch_to.window(handle_before)
        browser.browser.remove_user_context(profile.context)


def set_screen(browser: webdriver.Chrome, width: int, *, dark: bool = False) -> None:
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def allow_scripts(browser: webdriver.Chrome, allowed: bool) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not allowed})


def click(browser: webdriver.Chrome, text: str) -> None:
    """Click on the first link, button or summary with the text."""
    browser.find_element(By.XPATH, f"//*[self::a or self::button or self::summary][contains(., '{text}')]").click()


def press(browser: webdriver.Chrome, text: str, awaited: str) -> None:
    """Reach the link or button with the text or label by the Tab key, press Enter, and wait for the awaited text."""
    browser.execute_script("document.activeElement && document.activeElement.blur()")
    for _ in range(60):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        reached = browser.switch_to.active_element
        if text in f"{reached.text} {reached.get_attribute('aria-label')}":
            reached.send_keys(Keys.ENTER)
            wait_for(browser, awaited)
            return
    raise AssertionError(f"the key Tab reaches no {text}")


def text_of(browser: webdriver.Chrome, selector: str) -> str:
    """Return an element's text; empty if the element is missing or the page is just being replaced."""
    try:
        return " ".join(element.text for element in browser.find_elements(By.CSS_SELECTOR, selector))
    except WebDriverException as error:
        if isinstance(error, StaleElementReferenceException) or "does not belong to the document" in str(error):
            return ""
        raise


def wait_for(browser: webdriver.Chrome, text: str) -> None:
    """Wait for a page with the text."""
    until(lambda: text in text_of(browser, "body"), lambda: f"a page that says {text}, after {browser.current_url}")


def go(browser: webdriver.Chrome, text: str, awaited: str) -> None:
    """Click, and wait for the page with the awaited text."""
    click(browser, text)
    wait_for(browser, awaited)


def check_page(browser: webdriver.Chrome) -> None:
    """Check that the content policy refused nothing, and that nothing is missing or wider than the window."""
    faults = find_faults(browser)
    assert faults == [], faults


def find_faults(browser: webdriver.Chrome) -> list[str]:
    """Return the browser's log messages about the page, and a fault if it is wider than the window."""
    width, reach = browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
    return _messages(browser) + ([f"{reach} px in a window of {width}"] if reach > width else [])


def _messages(browser: webdriver.Chrome) -> list[str]:
    """Return the messages of the browser's log, except the one about the page's own status, such as 403."""
    messages = [entry["message"] for entry in browser.get_log("browser")]
    of_page = f"{browser.current_url} - Failed to load resource: the server responded with a status"
    return [message for message in messages if not message.startswith(of_page) and "favicon.ico" not in message]


def look_at(browser: webdriver.Chrome, name: str) -> None:
    """Check the page with ``find_all_faults``, then restore the window's width, in light colours.

    ``name`` is that of the page's pictures.
    """
    width = browser.execute_script("return innerWidth")
    faults = find_all_faults(browser, name)
    set_screen(browser, width)
    assert faults == [], faults


def find_all_faults(browser: webdriver.Chrome, name: str, *, by_axe: bool = True) -> list[str]:
    """Return the faults of the page on a phone in light colours and on a small desktop in dark ones."""
    faults = []
    for of_look, dark, rules in _LOOKS:
        set_screen(browser, of_look, dark=dark)
        found = find_faults(browser) + (find_barriers(browser, rules) if by_axe else [])
        faults += [f"{name}, {of_look} px, {'dark' if dark else 'light'}: {fault}" for fault in found]
    if _SCREENSHOTS:
        for of_picture, dark in _PICTURES:
            set_screen(browser, of_picture, dark=dark)
            _keep_picture(browser, Path(_SCREENSHOTS), f"{name}-{of_picture}-{'dark' if dark else 'light'}")
    return faults


def _keep_picture(browser: webdriver.Chrome, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    height = browser.execute_script("return document.documentElement.scrollHeight")
    width = browser.execute_script("return innerWidth")
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    language = browser.execute_script("return document.documentElement.lang")
    browser.save_screenshot(str(folder / f"{name}-{language}.png"))
