"""The page on which a household chooses what is asked for its meter: a box for each series that the supplier has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from worker.domain.account import Account
from worker.domain.series import Series, SeriesSwitch, daily_of
from worker.runtime.sync_parts import Runtime
from worker.stores.redis.locks import Rate, RateLimiter
from worker.web.context import RuntimeDep, SessionDep, is_session_form, switch_series
from worker.web.pages.own_account import OwnAccount
from worker.web.render import refuse_form, render, render_message

router = APIRouter()
# A series that is switched on is asked for at once, which takes calls of the quota that all households share.
_CHANGES: Final = Rate("series-choice", calls=10, window_s=3600)


@dataclass(frozen=True, slots=True)
class Box:
    """A series on the page. ``state``: ``on``, ``off`` or ``ended``, as its texts are called.

    ``kept``: it can't be switched off here, because the page's totals are made of it.
    """

    series: Series
    state: str
    kept: bool

    @property
    def ticked(self) -> bool:
        return self.state == "on"


@router.get("/accounts/{account_id}/series")
def show_series_form(
    request: Request, runtime: RuntimeDep, account: OwnAccount, saved: Annotated[str, Query()] = ""
) -> Response:
    """Show the form; an account that another person has taken over is shown as it is."""
    if not account.may_choose_series:
        return RedirectResponse(f"/accounts/{account.id}", 303)
    return render(request, "series.html", account=account, boxes=_load_boxes(runtime, account), saved=bool(saved))


@router.post("/accounts/{account_id}/series")
def save_series(
    request: Request,
    runtime: RuntimeDep,
    session: SessionDep,
    account: OwnAccount,
    series: Annotated[list[str] | None, Form()] = None,
    before: Annotated[list[str] | None, Form()] = None,
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Switch the series whose box was changed, only from our own form. ``before``: what the form showed as ticked.

    A series that was not touched goes on following the service's setting.
    """
    page = f"/accounts/{account.id}/series"
    if not is_session_form(runtime, session, csrf):
        return refuse_form(request, page)
    if not account.may_choose_series:
        return RedirectResponse(f"/accounts/{account.id}", 303)
    changed = set(series or ()) ^ set(before or ())
    switches = {
        box.series: SeriesSwitch.ON if box.series in (series or ()) else SeriesSwitch.OFF
        for box in _load_boxes(runtime, account)
        if box.series in changed and not box.kept
    }
    if switches:
        if wait_s := RateLimiter(runtime.redis).count_call(_CHANGES, account.id):
            refusal = render_message(request, "choose.too_many", 429, (page, "message.again"))
            refusal.headers["Retry-After"] = str(wait_s)
            return refusal
        switch_series(runtime, account.id, switches)
    return RedirectResponse(f"{page}?saved=yes", 303)


def _load_boxes(runtime: Runtime, account: Account) -> list[Box]:
    """Return the series that the supplier's API has, in their order."""
    return [
        Box(
            series,
            _name_state(shown.switch, shown.collected),
            kept=shown.collected and series is daily_of(supplier=account.supplier),
        )
        for series, shown in runtime.series_chooser.load(account.id).series.items()
        if shown.offered
    ]


def _name_state(switch: SeriesSwitch, collected: bool) -> str:
    if switch is SeriesSwitch.ENDED:
        return "ended"
    return "on" if collected else "off"
