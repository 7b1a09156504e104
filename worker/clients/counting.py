"""Counts what is asked of the supplier and what its answers mean."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

import requests
from requests.adapters import HTTPAdapter

from worker.clients.enedis.errors import Reply
from worker.domain.fleet.lanes import current_lane
from worker.domain.measures.answers import Answer
from worker.errors import WorkerError
from worker.metrics import ANSWERS, CALL_SECONDS, CALLS, NO_ANSWER, OTHER, TOKEN_REFUSED, kind_of

Api = Literal["data", "token"]
Judged = TypeVar("Judged")
_TOO_MANY: Final = 429


class CountedHttp(HTTPAdapter):
    """Sends, and counts each request with the class of its answer's status."""

    def __init__(self, api: Api) -> None:
        self._api = api
        super().__init__()

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        began, status = time.perf_counter(), NO_ANSWER
        try:
            response = super().send(request, *args, **kwargs)
            status = _status_class(response.status_code)
        finally:
            CALLS.labels(self._api, status, current_lane()).inc()
            CALL_SECONDS.labels(self._api).observe(time.perf_counter() - began)
        return response


def judge_and_count(judge: Callable[[Reply], Judged], reply: Reply) -> Judged:
    """What ``judge`` says of the answer."""
    try:
        judged = judge(reply)
    except WorkerError as error:
        ANSWERS.labels(kind_of(error), current_lane()).inc()
        raise
    ANSWERS.labels(judged.verdict if isinstance(judged, Answer) else OTHER, current_lane()).inc()
    return judged


def count_refused_token() -> None:
    ANSWERS.labels(TOKEN_REFUSED, current_lane()).inc()


def _status_class(status: int) -> str:
    return str(status) if status == _TOO_MANY else f"{status // 100}xx"
