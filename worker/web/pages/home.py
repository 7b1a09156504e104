"""The first page: connect a meter, or open one that is connected in this browser."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response

from worker.clients.suppliers import SUPPLIERS
from worker.domain.consent.accounts import AccountState
from worker.domain.measures.readings import Series
from worker.domain.measures.windows import history_length
from worker.web.context import RuntimeDep, SessionDep
from worker.web.render import render, words_of

router = APIRouter()


# Whether all is well, the household waits or it has to act, as on the account's own page.
_KINDS: Final = {
    AccountState.NEW: "act",
    AccountState.READY: "good",
    AccountState.PAUSED: "wait",
    AccountState.ACTION_NEEDED: "act",
}


@router.get("/")
def show_home(request: Request, runtime: RuntimeDep, session: SessionDep) -> Response:
    settings, words = runtime.settings, words_of(request)
    accounts = runtime.registry.get_many(session.accounts)  # A cookie may be older than the registry.
    return render(
        request,
        "home.html",
        suppliers=SUPPLIERS,
        accounts=[accounts[id_] for id_ in session.accounts if id_ in accounts and accounts[id_].state in _KINDS],
        kinds=_KINDS,
        duration=words.duration(settings.consent_duration or runtime.endpoints.preset.consent_duration),
        months=history_length(Series.DAILY, settings.history_load_days) * 12 // 365,
        curve_days=settings.history_load_days,
    )
