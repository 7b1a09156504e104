"""A reading that is typed while a step of its request goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from worker.accounts.connect import AccountConnector
from worker.domain.connection_request import ConnectionRequest, RequestState

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
UNPROVEN = ConnectionRequest(
    id="r",
    supplier="enedis",
    browser="b",
    begun_on=NOW.date(),
    created_at=NOW,
    autorisation_id=900001,
    state=RequestState.UNPROVEN,
)


class Requests:
    """The one request of a browser; ``meanwhile``: what it is when whoever waits for its lock gets it."""

    def __init__(self, meanwhile: ConnectionRequest) -> None:
        self.request, self._meanwhile = UNPROVEN, meanwhile

    def of_browser(self, names: Sequence[str]) -> ConnectionRequest:
        return self.request

    def bind(self, request: ConnectionRequest) -> None:
        assert request == self.request

    def save(self, request: ConnectionRequest) -> None:
        self.request = request

    @contextmanager
    def lock(self, name: str, ttl_s: float, **bounds: float) -> Iterator[None]:
        self.request = self._meanwhile
        yield


@pytest.mark.parametrize("meanwhile", [UNPROVEN, replace(UNPROVEN, state=RequestState.CONNECTED, autorisation_id=None)])
def test_a_reading_takes_on_an_unproven_request_and_no_other(meanwhile: ConnectionRequest) -> None:
    requests: Any = Requests(meanwhile)
    nothing: Any = None
    outcomes: Any = SimpleNamespace(requests=requests)
    offered: Any = SimpleNamespace(offered=True)
    connector = AccountConnector(
        outcomes=outcomes,
        declarations=nothing,
        locks=requests,
        meter_readings=offered,
    )
    after = connector.compare_reading(["b", "a"], {"BASE": 1}, browser="c", session={"home": 1})
    if meanwhile.state is RequestState.UNPROVEN:
        assert after is not None and requests.request.state is RequestState.ASKING
        assert (after.browser, after.known_as, after.session) == ("c", ("b", "a"), {"home": 1})
    else:
        assert after is None and requests.request == meanwhile
