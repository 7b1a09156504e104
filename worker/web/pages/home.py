"""The first page: connect a meter, or open one that is connected in this browser."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from worker.clients.suppliers import SUPPLIERS
from worker.domain.measures.readings import Series
from worker.domain.measures.windows import history_length
from worker.web.context import RuntimeDep, SessionDep
from worker.web.pages.account import KINDS
from worker.web.render import render, words_of

router = APIRouter()


@router.get("/")
def show_home(request: Request, runtime: RuntimeDep, session: SessionDep) -> Response:
    settings, words = runtime.settings, words_of(request)
    accounts = runtime.registry.get_many(session.accounts)  # A cookie may be older than the registry.
    return render(
        request,
        "home.html",
        suppliers=SUPPLIERS,
        accounts=[accounts[id_] for id_ in session.accounts if id_ in accounts and accounts[id_].state in KINDS],
        kinds=KINDS,
        duration=words.duration(settings.consent_duration or runtime.endpoints.preset.consent_duration),
        months=history_length(Series.DAILY, settings.history_load_days) * 12 // 365,
        curve_days=settings.history_load_days,
    )
