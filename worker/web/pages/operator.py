"""The operator's page: how the fleet stands, behind a password of its own; no account by name, no measure."""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from worker.app import queue_lengths
from worker.domain.fleet.freshness import share_of
from worker.domain.measures.readings import ONE_DAY, Series
from worker.errors import StoreUnavailable
from worker.logs import fields
from worker.runtime.process import Runtime
from worker.stores.registry.overview import Freshness, Overview
from worker.web.context import ContextDep, ServiceContext
from worker.web.rate_limit import Limiter, Rate, address_of
from worker.web.render import render
from worker.web.sessions import OPERATOR_COOKIE, OPERATOR_LIFE

log = logging.getLogger("releve.web")

router = APIRouter(prefix="/operator", include_in_schema=False)

_KIND: Final = "operator"
_PATH: Final = "/operator"
_TRIES: Final = Rate("operator-login", calls=5, window_s=300)
_TRIES_BY_ALL: Final = Rate("operator-login-all", calls=50, window_s=300)  # many addresses make one attacker


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """Who looks at the operator's door.  ``sid`` is new at the login, so that a planted cookie gains nothing."""

    sid: str
    inside: bool = False


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """Permits of one API taken within the last hour; ``limit`` None is no limit."""

    api: str
    used: int
    limit: int | None

    @property
    def share(self) -> float | None:
        return self.used / self.limit if self.limit else None


@dataclass(frozen=True, slots=True)
class FreshHour:
    """What was kept under an hour: the share of active accounts whose yesterday was whole then."""

    hour: datetime
    shares: Mapping[Series, float | None]


@router.get("")
def show_operator(request: Request, house: ContextDep) -> Response:
    if house.runtime.settings.operator_password is None:
        return render(request, "message.html", 404, title="operator.closed.title", text="operator.closed.text")
    visit = _visit(request, house)
    if not visit.inside:
        return _ask(request, house, visit)
    return render(request, "operator.html", visit_csrf=house.signer.csrf(visit.sid), **_facts(house.runtime))


@router.post("/login")
def log_in(
    request: Request,
    house: ContextDep,
    password: Annotated[str, Form()] = "",
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Every try counts before it is looked at, so that many at once are no way round; a refused one doesn't."""
    told = house.runtime.settings.operator_password
    visit = _visit(request, house)
    if told is None or not house.signer.csrf_holds(visit.sid, csrf):
        return _ask(request, house, visit, 403, "csrf.text")
    limiter, address = Limiter(house.runtime.redis), address_of(request)
    if wait_s := limiter.wait_s(_TRIES, address) or limiter.wait_s(_TRIES_BY_ALL, "all"):
        response = _ask(request, house, visit, 429, "operator.slow", wait_s=wait_s)
        response.headers["Retry-After"] = str(wait_s)
        return response
    if not hmac.compare_digest(password.encode(), told.get_secret_value().encode()):
        log.warning("operator login refused", extra=fields(address=address))
        return _ask(request, house, visit, 403, "operator.wrong")
    return _enter(house, LoginAttempt(_new_sid(), inside=True))


@router.post("/logout")
def log_out(request: Request, house: ContextDep, csrf: Annotated[str, Form()] = "") -> Response:
    if not house.signer.csrf_holds(_visit(request, house).sid, csrf):
        return render(
            request, "message.html", 403, title="csrf.title", text="csrf.text", action=(_PATH, "message.again")
        )
    response = RedirectResponse(_PATH, 303)
    response.delete_cookie(OPERATOR_COOKIE, path=_PATH)
    return response


def _visit(request: Request, house: ServiceContext) -> LoginAttempt:
    claims = house.signer.read(_KIND, request.cookies.get(OPERATOR_COOKIE))
    return LoginAttempt(str(claims["sid"]), bool(claims["inside"])) if claims else LoginAttempt(_new_sid())


def _ask(
    request: Request,
    house: ServiceContext,
    visit: LoginAttempt,
    status: int = 200,
    fault: str | None = None,
    wait_s: int = 0,
) -> Response:
    """The password's form; the cookie that its hidden field belongs to comes with it."""
    visit = LoginAttempt(visit.sid)
    response = render(
        request, "operator_login.html", status, visit_csrf=house.signer.csrf(visit.sid), fault=fault, wait_s=wait_s
    )
    _remember(house, response, visit)
    return response


def _enter(house: ServiceContext, visit: LoginAttempt) -> Response:
    response = RedirectResponse(_PATH, 303)
    _remember(house, response, visit)
    return response


def _remember(house: ServiceContext, response: Response, visit: LoginAttempt) -> None:
    life: timedelta = OPERATOR_LIFE
    token = house.signer.sign(_KIND, {"sid": visit.sid, "inside": visit.inside}, life)
    house.set_cookie(response, OPERATOR_COOKIE, token, int(life.total_seconds()), path=_PATH)


def _facts(runtime: Runtime) -> dict[str, Any]:
    overview = Overview(runtime.registry.database)
    yesterday = runtime.dispatcher.today() - ONE_DAY
    freshness: dict[Series, Freshness] = {series: overview.freshness(series, yesterday) for series in Series}
    return {
        "states": runtime.registry.count_by_state(),
        "freshness": freshness,
        "fresh_hours": fresh_hours(runtime),
        "yesterday": yesterday,
        "quotas": _quotas(runtime),
        "gate_s": runtime.ledger.closed_for_s(),
        "incidents": runtime.incidents.current(),
        "preset": runtime.endpoints.preset.name,
        "errors": overview.last_errors(),
        "queues": _queues(runtime),
        "now": runtime.now(),
    }


def fresh_hours(runtime: Runtime) -> list[FreshHour]:
    """Of the last 24 hours those that were kept, oldest first."""
    kept = runtime.registry.completeness.freshness_since(runtime.now() - timedelta(hours=24))
    shares: dict[datetime, dict[Series, float | None]] = {}
    for each in kept:
        shares.setdefault(each.hour, {})[each.series] = share_of(each.complete, each.active)
    return [FreshHour(hour, {series: told.get(series) for series in Series}) for hour, told in shares.items()]


def _quotas(runtime: Runtime) -> list[QuotaUse]:
    apis = runtime.endpoints.preset.apis
    return [QuotaUse(api, runtime.ledger.used(api), runtime.calls_per_hour) for api in apis]


def _queues(runtime: Runtime) -> dict[str, int] | None:
    """None where the broker can't be asked: the rest of the page is needed then most of all."""
    try:
        return queue_lengths(runtime)
    except StoreUnavailable as error:
        log.warning("queues can't be read", extra=fields(reason=str(error)))
        return None


def _new_sid() -> str:
    return secrets.token_urlsafe(18)
