"""The operator's contact (RELEVE_CONTACT) on each page that can't help a household further."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.settings import ConfigError, Settings
from tests.support.api_service import open_api_service

ENGLISH = {"Accept-Language": "en"}
WITHOUT_HELP = ("/accounts/zzzzzzzzzzzz", "/nothing-here", "/sign-in", "/invitation", "/connect/nobody", "/")
ASK = "To reach the person who runs this service:"


@pytest.mark.parametrize(
    ("contact", "shown"),
    [
        ("help@example.org", '<a href="mailto:help@example.org">help@example.org</a>'),
        ("https://example.org/help", '<a href="https://example.org/help">https://example.org/help</a>'),
        ("01 23 45 67 89, weekdays", "01 23 45 67 89, weekdays"),
        ("<b>Anne</b>", "&lt;b&gt;Anne&lt;/b&gt;"),
        ("javascript:alert(1)", "service: javascript:alert(1)"),
    ],
)
def test_d1_each_page_that_cannot_help_names_the_operators_contact(
    redis_url: str, tmp_path: Path, contact: str, shown: str
) -> None:
    with open_api_service(redis_url, tmp_path, contact=contact) as service:
        for path in WITHOUT_HELP:
            page = service.stranger().get(path, headers=ENGLISH).text
            assert ASK in page and shown in page, path


def test_without_a_contact_the_pages_speak_of_whoever_runs_the_service(redis_url: str, tmp_path: Path) -> None:
    with open_api_service(redis_url, tmp_path) as service:
        page = service.stranger().get("/sign-in", headers=ENGLISH).text
    assert ASK not in page and "the person who runs this service" in page


@pytest.mark.parametrize("contact", ["   ", "two\nlines", "x" * 201, "https://", "bell\x07"])
def test_a_contact_that_nobody_can_read_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, contact: str) -> None:
    with pytest.raises(ConfigError, match="RELEVE_CONTACT") as refused:
        Settings.from_env(contact=contact)
    assert "\n" not in str(refused.value)
