"""Helpers for tests of a household's pages: outcomes to show, and the hidden field of a page's form."""

from __future__ import annotations

import re
from datetime import date, timedelta

from fastapi.testclient import TestClient
from httpx2 import Response

from tests.support.api_service import TODAY, ApiService
from tests.support.factories import NOW
from worker.domain.series import Series
from worker.stores.registry.outcomes import DueChanges, RunOutcome

FRENCH = {"Accept-Language": "fr"}
ENGLISH = {"Accept-Language": "en"}
METER = "30001640000011"


def open_as_asked(browser: TestClient, page: Response) -> Response:
    """Press the button of the page by which a connected account opens, where it is that page."""
    form = re.search(r'<form method="post" action="(/connect/[a-z/]+)" class="opens">', page.text)
    answer: Response = browser.post(form[1], data={"csrf": csrf_of(page.text)}) if form else page
    return answer


def record_outcome(
    service: ApiService,
    account_id: str,
    series: Series,
    code: str | None = None,
    day: date | None = None,
    due_changes: DueChanges | None = None,
) -> None:
    service.parts.stores.registry.outcomes.record(
        account_id,
        series.value,
        "20240725T070000",
        NOW,
        RunOutcome(
            code=code,
            message="",
            last_day=day or TODAY - timedelta(days=1),
            stored=True,
            due_changes=due_changes or {},
            confirms=code is None,
        ),
    )


def csrf_of(page: str) -> str:
    """Return the hidden field of the page's own form, which comes after that of a notice."""
    values = re.findall(r'name="csrf" value="([0-9a-f]{64})"', page)
    assert values, "the page has a form with its hidden field"
    return str(values[-1])
