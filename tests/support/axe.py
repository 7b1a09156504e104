"""axe-core in a browser: finds accessibility faults, such as too little contrast or a field without a name.

It comes from npm (tests/install_servers.sh); without it, tests are skipped, but fail in CI.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from selenium import webdriver

from tests.support.missing import skip

ALL_RULES: Final[dict[str, Any]] = {}
COLOURS: Final = {"runOnly": ["color-contrast"]}
ALL_BUT_COLOURS: Final = {"rules": {"color-contrast": {"enabled": False}}}
_PROGRAM: Final = Path(__file__).parents[2] / ".test-servers/node_modules/axe-core/axe.min.js"
_RUN: Final = """
    const [options, done] = arguments;
    axe.run(document, {resultTypes: ["violations"], preload: false, ...options}).then(
        (results) => done(results.violations.flatMap((rule) => rule.nodes.map(
            (node) => `${rule.id}: ${node.target.join(" ")}: ${node.failureSummary}`))),
        (error) => done([String(error)]));
"""


def find_barriers(browser: webdriver.Chrome, options: dict[str, Any] = ALL_RULES) -> list[str]:
    """Return axe's findings on the page that the browser shows now, one text per element and rule."""
    if not browser.execute_script("return typeof axe === 'object'"):
        browser.execute_script(_program())
    found: list[str] = browser.execute_async_script(_RUN, options)
    return found


@cache
def _program() -> str:
    if not _PROGRAM.exists():
        skip("no axe-core: install node, then run tests/install_servers.sh")
    return _PROGRAM.read_text(encoding="utf-8")
