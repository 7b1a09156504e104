"""What changes the simulator's behaviour: switches, injected faults, its clock, and the options that it starts with.

Switches are for one meter or for the whole service. The names of their fields are those of the JSON that ``/__sim__/``
takes; a field that is not sent keeps its value. A fault that a test injects is a fixed answer, a delay, or an answer
damaged on its way back. The clock starts at any moment, can be moved and runs at normal speed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

import anyio
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from simulator.electricity_homes import HALF_HOUR, LARGEST_WP, SMALLEST_WP, Tariff, read_off_peak_hours
from simulator.enedis_refusals import ERROR_TABLE, Generation
from simulator.rte_refusals import RTE_ERRORS
from worker.domain.answers import Json
from worker.domain.clock import clock_from
from worker.domain.series import Direction
from worker.domain.windows import PARIS

Step = Literal[5, 10, 15, 30, 60]
# Names of the supplier's APIs, each with a quota of its own; all of v4 and v5 is one.
Api = Literal[
    "data",
    "mesure_synchrone_auto",
    "subscribed_services",
    "situation_contrat_auto",
    "synth_contrat_auto",
    "comptage_auto",
]
TIMEOUT_S: Final = 120.0
_SLOW_PIECES: Final = 20
KINDS: Final = ("timeout", "throttled", "slow", "truncated", "cut", "refresh_lost", *ERROR_TABLE, *RTE_ERRORS)
CLIENT_ID: Final = "releve-simulator"
CLIENT_SECRET: Final = "releve-simulator-secret"  # noqa: S105 - opens nothing but pretend homes


class DataGap(NamedTuple):
    """Missing steps of the curve: those that end after ``start`` and at ``end`` at the latest (naive local labels).

    With ``whole_day`` the daily value of that day is missing too.
    """

    start: str
    end: str
    whole_day: date | None = None


def _read_label(text: str) -> str:
    return datetime.fromisoformat(text).replace(tzinfo=None).isoformat(" ", "seconds")


def _read_gap(text: Json) -> DataGap:
    """Read a gap: ``2024-01-10`` for a day, ``2024-01-10T13:00/2024-01-10T15:00`` for the steps between two labels."""
    start, slash, end = str(text).partition("/")
    return DataGap(_read_label(start), _read_label(end)) if slash else DataGap("", "", date.fromisoformat(start))


def _check_refusal(name: str | None) -> str | None:
    if name is not None and name not in ERROR_TABLE:
        raise ValueError(f"no refusal {name!r}; there are {', '.join(ERROR_TABLE)}")
    return name


def _check_off_peak_hours(text: str) -> str:
    read_off_peak_hours(text)
    return text


def _check_panels(watts: int | None) -> int | None:
    if watts and not SMALLEST_WP <= watts <= LARGEST_WP:
        raise ValueError(f"panels must have {SMALLEST_WP} to {LARGEST_WP} W; 0 is none")
    return watts


class SwitchModel(BaseModel):
    """JSON of a switch; a field that is unknown or of another type is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ScheduledCorrection(SwitchModel):
    """Correction of one day by the supplier: by ``factor``, or to ``wh``; daily value, curve and registers agree."""

    day: date
    direction: Direction = Direction.CONSUMPTION
    factor: float | None = None
    wh: float | None = None

    @model_validator(mode="after")
    def _check_amount(self) -> Self:
        if (self.factor is None) == (self.wh is None):
            raise ValueError("needs one number of factor or wh")
        return self

    def apply(self, wh: float) -> int:
        """Return the day's energy after the correction, in whole Wh."""
        if self.wh is not None:
            return round(self.wh)
        return max(0, round(wh * (1 if self.factor is None else self.factor)))


class ContractChange(SwitchModel):
    """What changes in a pretend home's contract on a day; what is not named stays.

    Another tariff has other registers, which count from zero, and the off-peak hours that are usual for it.
    """

    day: date
    subscribed_kva: Annotated[int, Field(ge=1, le=36)] | None = None
    tariff: Tariff | None = None
    off_peak_hours: Annotated[str, AfterValidator(_check_off_peak_hours)] | None = None


class SwitchSet(SwitchModel):
    """Switches that are changed one by one."""

    def with_changes(self, changes: Mapping[str, Json]) -> Self:
        """Return a copy with ``changes``.  Raises ValidationError, a ValueError."""
        # Only as JSON does the strict mode take texts for dates and lists for tuples.
        changed = type(self).model_validate_json(json.dumps(changes))
        return self.model_copy(update={name: getattr(changed, name) for name in changed.model_fields_set})


class MeterSwitches(SwitchSet):
    """Switches of one meter.

    ``delay_days``: how many days later than other meters it publishes.  ``step``: length of its steps in
    minutes (pretend homes only).  ``refusal``: answer every call with this row of the error table.  Of pretend homes
    alone: ``panels_wp``, the peak power of its panels in W (0 for none); ``contract_changes``; ``replaced_on``, the day
    from which a new meter counts from zero.
    """

    delay_days: int = 0
    step: Step = HALF_HOUR
    holes: tuple[Annotated[DataGap, PlainValidator(_read_gap)], ...] = ()
    weekday_holes: tuple[int, ...] = ()
    corrections: tuple[ScheduledCorrection, ...] = ()
    activated_on: date | None = None
    curve_enabled: bool = True
    consent_revoked: bool = False
    refusal: Annotated[str | None, AfterValidator(_check_refusal)] = None
    panels_wp: Annotated[int | None, AfterValidator(_check_panels)] = None
    contract_changes: tuple[ContractChange, ...] = ()
    replaced_on: date | None = None

    def correction_of(self, day: date, direction: Direction) -> ScheduledCorrection | None:
        """Return the correction of a day, the last one if there are several, or None."""
        corrections = (one for one in reversed(self.corrections) if (one.day, one.direction) == (day, direction))
        return next(corrections, None)


class ServiceSwitches(SwitchSet):
    """Switches of the whole service.

    ``callback``: how consent ends.  ``usage_point_separator`` joins several ids in the callback.  The exchange of an
    authorisation says "nothing yet" in its next ``services_empty`` calls.  ``token_without_meter``: a user's token does
    not say whose meter it is for.  ``unsubscribed_apis``: those that the application may not call (900908).
    ``gateway_bodies``: the generation of Enedis' answers that the gateway passes on.
    """

    callback: Literal["success", "refused", "server_error", "bare_server_error"] = "success"
    usage_point_separator: str = ";"
    whole_years_refused: bool = False
    token_life_s: int = 12_600
    token_without_meter: bool = False
    services_empty: int = 0
    unsubscribed_apis: tuple[Api, ...] = ()
    gateway_bodies: Literal["2026", "v5"] = "2026"


def _check_kind(kind: str | None) -> str | None:
    if kind is not None and kind not in KINDS:
        raise ValueError(f"no kind {kind!r}; there are {', '.join(KINDS)}")
    return kind


def _to_text(body: Json) -> str | None:
    return body if body is None or isinstance(body, str) else json.dumps(body, ensure_ascii=False)


class InjectedFault(BaseModel):
    """Fault for the calls whose path matches, as the JSON of ``/__sim__/faults``.

    ``path`` is a part of the path.  ``count`` says how often the fault happens, None for
    ever; ``skip`` calls pass before; both count down, and ``hits`` up.  A fault without status, body and kind only
    waits ``delay_s``.  Kinds:

    ================= ======================================================================
    ``timeout``       no answer for ``delay_s`` (two minutes without it)
    ``slow``          the answer comes in pieces, over ``delay_s`` (two minutes without it)
    ``truncated``     the text of the answer ends in the middle, the connection is fine
    ``cut``           the connection ends in the middle of the answer
    ``refresh_lost``  same as ``cut``: the refresh token is used up, the answer is lost
    ``throttled``     429
    RTE's             its answer of this code, or ``rte_`` and a status, such as ``rte_509``
    any other         that row of the error table, in the wording of the caller's generation
    ================= ======================================================================
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    path: str
    usage_point: str | None = None
    count: int | None = 1
    skip: int = 0
    status: int | None = None
    body: Annotated[str | None, BeforeValidator(_to_text)] = None
    headers: dict[str, str] = {}
    delay_s: float | None = 0.0
    kind: Annotated[str | None, AfterValidator(_check_kind)] = None
    hits: int = 0

    def matches(self, path: str, usage_point: str | None) -> bool:
        """Return whether this call gets the fault, leaving ``skip`` aside."""
        if self.count == 0 or (self.usage_point is not None and self.usage_point != usage_point):
            return False
        return self.path in path

    @property
    def wait_s(self) -> float:
        """Seconds to wait before the answer."""
        return 0.0 if self.kind == "slow" else self.delay_s or (TIMEOUT_S if self.kind == "timeout" else 0.0)

    def canned_response(self, generation: Generation) -> Response | None:
        """Return the answer that replaces the real one; None if the call is carried out."""
        if self.kind == "timeout":
            return Response("<html>504 Gateway Time-out</html>", 504, media_type="text/html")
        if (refusal := {**ERROR_TABLE, **RTE_ERRORS}.get(self.kind or "")) is not None:
            return refusal.respond(generation)
        if self.status is None and self.body is None:
            return None
        media_type = "application/json" if (self.body or "").lstrip()[:1] in ("{", "[") else "text/html"
        return Response(self.body or "", self.status or 200, self.headers, media_type)

    def corrupt(self, response: Response) -> Response:
        """Return the answer of a call that was carried out, slow or without its second half if the kind says so."""
        body = bytes(response.body)
        if self.kind == "slow":
            media_type, pause_s = response.media_type, (self.delay_s or TIMEOUT_S) / _SLOW_PIECES
            return _SlowResponse(body, response.status_code, media_type=media_type, pause_s=pause_s)
        if self.kind == "truncated":
            return Response(body[: len(body) // 2], response.status_code, media_type=response.media_type)
        if self.kind in ("cut", "refresh_lost"):
            return _CutResponse(body, response.status_code, media_type=response.media_type)
        return response


def take_fault(faults: Sequence[InjectedFault], path: str, usage_point: str | None) -> InjectedFault | None:
    """Return the first fault that matches this call and count it; None if the call goes on as usual."""
    for fault in faults:
        if not fault.matches(path, usage_point):
            continue
        if fault.skip:
            fault.skip -= 1
            continue
        fault.hits += 1
        if fault.count is not None:
            fault.count -= 1
        return fault
    return None


class _SlowResponse(Response):
    """Response that sends its body in pieces, with a pause after each."""

    def __init__(self, *args: Any, pause_s: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pause_s = pause_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = bytes(self.body)
        size = len(body) // _SLOW_PIECES + 1
        for rank in range(_SLOW_PIECES):
            await send({"type": "http.response.body", "body": body[rank * size : (rank + 1) * size], "more_body": True})
            await anyio.sleep(self._pause_s)
        await send({"type": "http.response.body", "body": b""})


class _CutResponse(Response):
    """Response that announces its full length and sends half of it; the server then ends the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = bytes(self.body)
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})


class SimulatedClock:
    """Clock that gives the date in Paris to every rule about "today"."""

    def __init__(self, start: datetime | None = None) -> None:
        self.now = clock_from(start)

    def set(self, now: datetime) -> None:
        """Move the clock to ``now`` (zone-aware)."""
        self.now = clock_from(now)

    def local_now(self) -> datetime:
        """Return the simulated moment in Paris time."""
        return self.now().astimezone(PARIS)

    def today(self) -> date:
        """Return the simulated date in Paris."""
        return self.local_now().date()


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """Options of a simulator.

    ``data_dir``: folder of recorded series.  ``pretend_homes``: every other meter is a pretend home generated from
    ``seed``, as it always is without recordings; else it is unknown.  ``pretend_now`` (zone-aware): start of the clock,
    None for the real time.  ``redirect_uri``: the callback registered at Enedis; with None the consent page takes the
    one in its query.  ``sandbox``: the last digit of ``state`` picks one of the nine test customers, and GRDF's test
    meters are known beside recordings.  ``consent_page``: ask in the browser, else agree at once.  ``client_id``: the
    one application it knows, None for any id and secret.  ``per_second``, ``per_hour``: quota of Enedis, None for no
    limit; that of gas is switched while it runs.  ``admin_token``: what opens ``/__sim__/``; with None it opens to this
    machine alone.
    """

    data_dir: Path | None = None
    pretend_homes: bool = False
    pretend_now: datetime | None = None
    client_id: str | None = CLIENT_ID
    client_secret: str = field(default=CLIENT_SECRET, repr=False)
    redirect_uri: str | None = None
    sandbox: bool = False
    consent_page: bool = False
    per_second: int | None = None
    per_hour: int | None = None
    seed: int = 1
    admin_token: str | None = field(default=None, repr=False)

    @property
    def invents_homes(self) -> bool:
        """Whether a number without a recording is a pretend home."""
        return self.pretend_homes or self.data_dir is None
