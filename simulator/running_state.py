"""State of a running simulator, in memory: consents and tokens, rights, call quota and its report, bans.

One event loop reads and changes it, so nothing in it needs a lock.

A declared right to gas data waits for its holder. GRDF sends the e-mail in batches, on each quarter hour of the clock;
what the holder then does is a switch, or said by the control routes. A right changes when it is looked at, by the
clock.

The gateway bans an address that calls too often in half a day: it gets nothing any more.
"""

from __future__ import annotations

import secrets
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from hashlib import blake2b
from itertools import cycle, islice
from typing import Final, NamedTuple

from simulator.electricity_meters import Meters
from simulator.electricity_recordings import RecordedFolder
from simulator.gas_homes import GasServiceSwitches
from simulator.gas_meters import GasMeters
from simulator.gas_recordings import ALL_SCOPES, SANDBOX_METERS
from simulator.switches import InjectedFault, ServiceSwitches, SimulatedClock, SimulatorOptions
from worker.domain.access_right import ProofState, RightState
from worker.domain.answers import Json
from worker.domain.windows import ONE_DAY

_FIRST_AUTORISATION_ID: Final = 900_001
_CODE_LIFE: Final = timedelta(minutes=3)
AUTHORIZED: Final = "AUTORISE_CONTRAT_FOURNITURE"
OWN: Final = "DETENTEUR_CONTRAT_FOURNITURE"
TIERS_DIRECT: Final = "TIERS_DIRECT"
CLIENT_CONNECT: Final = "CLIENT_CONNECT"
BY_HOLDER, BY_SUPPLIER, BY_THIRD_PARTY = "TITULAIRE", "GRDF", "TIERS"
_EARLIEST: Final = date(2000, 1, 1)
_LATEST: Final = date(2099, 12, 31)
_PROOF_DAYS: Final = 15
USUAL_LIMIT: Final = 100


@dataclass(frozen=True, slots=True)
class HolderConsent:
    """Consent of one holder for some meters, from ``start`` to ``end`` (excluded)."""

    autorisation_id: int
    usage_points: tuple[str, ...]
    start: date
    end: date


class IssuedToken(NamedTuple):
    """Consent behind a code or token, None behind the application's token, and when that secret expires."""

    consent: HolderConsent | None
    expires_at: datetime


class Consents:
    """Consents by usage point; a new consent replaces the previous one.

    Holders who name no meter have those of ``usage_points`` in turn; without any, each has an unused pretend home.
    """

    def __init__(self, clock: SimulatedClock, seed: int, usage_points: Sequence[str] = ()) -> None:
        self._clock = clock
        self._seed = seed
        self._by_usage_point: dict[str, HolderConsent] = {}
        self._by_autorisation: dict[int, HolderConsent] = {}
        self._given = usage_points
        self._usage_points = cycle(usage_points) if usage_points else self._generate_usage_points()

    def grant(self, usage_points: tuple[str, ...] | None, last_day: date) -> HolderConsent:
        """Record a holder's consent until ``last_day`` and return it; the same holder gets the same id again.

        Without ``usage_points`` it is for the meter of the next holder.
        """
        consent_usage_points = usage_points or (next(self._usage_points),)
        existing = self._by_usage_point.get(consent_usage_points[0])
        number = existing.autorisation_id if existing else _FIRST_AUTORISATION_ID + len(self._by_autorisation)
        consent = HolderConsent(number, consent_usage_points, self._clock.today(), last_day + ONE_DAY)
        self._by_autorisation[number] = consent
        self._by_usage_point.update(dict.fromkeys(consent_usage_points, consent))
        return consent

    def find(self, autorisation_id: int) -> HolderConsent | None:
        """Return the consent with this id, or None."""
        return self._by_autorisation.get(autorisation_id)

    def has_ended(self, usage_point: str) -> bool:
        """Return whether the meter's consent is over; a meter without any consent counts as consenting."""
        consent = self._by_usage_point.get(usage_point)
        return consent is not None and self._clock.today() >= consent.end

    def first_usage_points(self, count: int) -> list[str]:
        """Return the meters of the first holders, whatever consents there were since."""
        return list(islice(self._given or self._generate_usage_points(), count))

    def _generate_usage_points(self) -> Iterator[str]:
        """Yield meter numbers that depend only on the seed, so that every run has the same homes."""
        rank = 0
        while True:
            rank += 1
            digest = blake2b(f"{self._seed}/{rank}".encode(), digest_size=8).digest()
            yield f"{10**13 + int.from_bytes(digest) % (9 * 10**13):014d}"


class Tokens:
    """Codes, access tokens and refresh tokens.

    A code works once and for a short time, a refresh token works once; all expire by the simulated clock.
    """

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock = clock
        self._codes: dict[str, IssuedToken] = {}
        self._refresh: dict[str, IssuedToken] = {}
        self._access: dict[str, IssuedToken] = {}

    def issue_code(self, consent: HolderConsent) -> str:
        """Return a new code for the callback of ``consent``."""
        code = secrets.token_urlsafe(24)
        self._codes[code] = IssuedToken(consent, self._clock.now() + _CODE_LIFE)
        return code

    def issue_refresh_token(self, consent: HolderConsent) -> str:
        """Return a new refresh token, valid as long as the consent."""
        token = secrets.token_urlsafe(40)
        self._refresh[token] = IssuedToken(consent, self._clock.now() + (consent.end - consent.start))
        return token

    def issue(self, consent: HolderConsent | None, life_s: int) -> str:
        """Return a new access token; the application's looks like the JWT that Enedis sends, and carries no claims."""
        token = ("" if consent else "eyJhbGciOiJSUzI1NiJ9.e30.") + secrets.token_urlsafe(40)
        self._access[token] = IssuedToken(consent, self._clock.now() + timedelta(seconds=life_s))
        return token

    def redeem_code(self, code: str) -> HolderConsent | None:
        """Return the consent behind a code and use the code up; None if it is unknown or expired."""
        token = self._unless_expired(self._codes.pop(code, None))
        return token and token.consent

    def redeem_refresh_token(self, refresh_token: str) -> HolderConsent | None:
        """Return the consent behind a refresh token and use the token up; None if it is unknown or expired."""
        token = self._unless_expired(self._refresh.pop(refresh_token, None))
        return token and token.consent

    def find(self, access_token: str) -> IssuedToken | None:
        """Return what is behind an access token; None if it is unknown or expired."""
        return self._unless_expired(self._access.get(access_token))

    def revoke(self, token: str) -> None:
        """Refuse an access token or a refresh token from now on; one that is unknown is no error."""
        self._access.pop(token, None)
        self._refresh.pop(token, None)

    def expire_access_tokens(self) -> None:
        """Refuse every access token from now on; refresh tokens stay valid."""
        self._access.clear()

    def expire_refresh_tokens(self) -> None:
        """Refuse every refresh token from now on, so that all users must consent again."""
        self._refresh.clear()

    def _unless_expired(self, token: IssuedToken | None) -> IssuedToken | None:
        return token if token is not None and self._clock.now() < token.expires_at else None


@dataclass(slots=True, kw_only=True)
class AccessRight:
    """One right; days are included.  ``covers``: the kinds of data that may be read.  ``ended_by``: who ended it.

    ``sandbox``: only seen on the paths of the sandbox.
    """

    pce: str
    created_at: datetime
    state: RightState
    role: str = AUTHORIZED
    journey: str = TIERS_DIRECT
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    first_day: date = _EARLIEST
    last_day: date = _LATEST
    data_from: date = _EARLIEST
    data_to: date = _LATEST
    covers: frozenset[str] = ALL_SCOPES
    name: str | None = None
    company: str | None = None
    email: str | None = None
    phone: str | None = None
    postcode: str | None = None
    ended_at: datetime | None = None
    ended_by: str | None = None
    proof: ProofState | None = None
    proof_until: date | None = None
    proofs: int = 0
    sandbox: bool = False

    @property
    def mailed_at(self) -> datetime:
        """The quarter hour at which the holder gets the e-mail."""
        quarter = self.created_at.replace(minute=self.created_at.minute // 15 * 15, second=0, microsecond=0)
        return quarter if quarter == self.created_at else quarter + timedelta(minutes=15)

    @property
    def has_expired(self) -> bool:
        """Whether its last day is over, and nothing else ended it before."""
        return self.state is RightState.OBSOLETE and self.ended_by is None

    @property
    def is_open(self) -> bool:
        """Whether it is active, waits for its holder, or is checked again."""
        return self.state in (RightState.ACTIVE, RightState.PENDING, RightState.TO_CHECK)

    def end(self, state: RightState, by: str | None, at: datetime) -> None:
        """End the right."""
        self.state, self.ended_by, self.ended_at = state, by, at


class Rights:
    """All rights of the application."""

    def __init__(self, clock: SimulatedClock, meters: GasMeters, switches: Callable[[], GasServiceSwitches]) -> None:
        self._clock, self._meters, self._switches = clock, meters, switches
        self._rights: list[AccessRight] = [*self._recorded(), *self._of_sandbox()]

    def all(self, sandbox: bool = False) -> list[AccessRight]:
        """Return the rights in the order of their creation; those of the sandbox's meters only on its paths."""
        for right in self._rights:
            self._settle(right)
        return [right for right in self._rights if sandbox or not right.sandbox]

    def of_pce(self, pce: str, sandbox: bool = False) -> list[AccessRight]:
        """Return the rights of a meter, the newest first."""
        return [right for right in reversed(self.all(sandbox)) if right.pce == pce]

    def find(self, right_id: str) -> AccessRight | None:
        """Return the right with this id, or None."""
        return next((right for right in self.all(sandbox=True) if right.id == right_id), None)

    def add(self, right: AccessRight) -> AccessRight:
        """Add a right and return it as it is now: the holder may accept at once."""
        self._rights.append(right)
        self._settle(right)
        return right

    def grant(self, pce: str) -> AccessRight:
        """Return the active right that the holder gave on the consent page."""
        for right in self.of_pce(pce):
            if right.state is RightState.ACTIVE and right.journey == CLIENT_CONNECT:
                return right
        now, today = self._clock.now(), self._clock.today()
        return self.add(
            AccessRight(
                pce=pce,
                created_at=now,
                state=RightState.ACTIVE,
                journey=CLIENT_CONNECT,
                first_day=today,
                last_day=today.replace(day=1, year=today.year + 3),
                data_from=today.replace(day=1, year=today.year - 5),
                postcode=self._meters.get(pce).postcode,
            )
        )

    def ask_proof(self, right: AccessRight, until: date | None) -> None:
        """Ask for the proof of the consent, until a day: without one, in fifteen days."""
        right.proof = ProofState.AWAITED
        right.proof_until = until or self._clock.today() + _PROOF_DAYS * ONE_DAY

    def clear(self) -> None:
        """Forget all rights but those of the start."""
        self._rights = [*self._recorded(), *self._of_sandbox()]

    def _settle(self, right: AccessRight) -> None:
        """Let happen to a right what the clock has brought since."""
        now, today = self._clock.now(), self._clock.today()
        if right.state is RightState.PENDING:
            self._answer(right, now)
        awaited_until = right.proof_until if right.proof is ProofState.AWAITED else None
        if right.state is RightState.ACTIVE and awaited_until is not None and today > awaited_until:
            right.end(RightState.OBSOLETE, BY_SUPPLIER, now)
        if right.state in (RightState.ACTIVE, RightState.PENDING) and today > right.last_day:
            right.end(RightState.OBSOLETE, None, now)

    def _answer(self, right: AccessRight, now: datetime) -> None:
        """Let the holder answer the e-mail, as the switches say."""
        switches = self._switches()
        holder = self._meters.switches_of(right.pce).holder or switches.holder
        answered_at = right.mailed_at + timedelta(seconds=switches.accept_after_s)
        if holder == "accepts_at_once" or (holder == "accepts" and now >= answered_at):
            right.state = RightState.ACTIVE
        elif holder == "refuses" and now >= answered_at:
            right.end(RightState.REFUSED, BY_HOLDER, now)

    def _recorded(self) -> Iterable[AccessRight]:
        now = self._clock.now()
        for pce in sorted(self._meters.recorded):
            yield AccessRight(pce=pce, created_at=now, state=RightState.ACTIVE, company="EXEMPLE SARL")

    def _of_sandbox(self) -> Iterable[AccessRight]:
        now = self._clock.now()
        for pce, meter in SANDBOX_METERS.items():
            if meter.state is None or not self._meters.knows(pce):
                continue
            right = AccessRight(pce=pce, created_at=now, state=meter.state, covers=meter.covers, sandbox=True)
            right.ended_by, right.data_from = meter.ended_by, meter.data_from or _EARLIEST
            right.last_day, right.ended_at = (
                meter.last_day or _LATEST,
                now if meter.ended_by or meter.last_day else None,
            )
            yield right


class ReachedLimit(NamedTuple):
    """Limit that refuses a call, and when the next call is allowed."""

    per_second: bool
    opens_at: datetime

    @classmethod
    def hourly(cls, now: datetime) -> ReachedLimit:
        """Return the hourly limit, which opens with the next hour of the clock."""
        return cls(False, start_of_hour(now) + timedelta(hours=1))


def start_of_hour(now: datetime) -> datetime:
    """Return the beginning of the hour of ``now``."""
    return now.replace(minute=0, second=0, microsecond=0)


class CallQuota:
    """Quota of each API: calls per second, per hour of the clock and per day in UTC; a refused call doesn't count.

    Moments come from the simulated clock, which runs at normal speed.
    """

    def __init__(self, per_second: int | None = None, per_hour: int | None = None, per_day: int | None = None) -> None:
        self.per_second = per_second
        self.per_hour = per_hour
        self.per_day = per_day
        self._last_second: defaultdict[str, deque[datetime]] = defaultdict(deque)
        self._hours: Counter[tuple[str, datetime]] = Counter()
        self._days: Counter[tuple[str, date]] = Counter()

    def take(self, api: str, now: datetime) -> ReachedLimit | None:
        """Count a call and return None, or return the limit that refuses it."""
        hour = start_of_hour(now)
        if self.per_hour is not None and self._hours[api, hour] >= self.per_hour:
            return ReachedLimit.hourly(now)
        if self.per_day is not None and self._days[api, now.date()] >= self.per_day:
            return ReachedLimit(False, start_of_hour(now).replace(hour=0) + timedelta(days=1))
        recent = self._last_second[api]
        # A clock set back leaves calls in the future.
        while recent and not now - timedelta(seconds=1) < recent[0] <= now:
            recent.popleft()
        if self.per_second is not None and len(recent) >= self.per_second:
            return ReachedLimit(True, recent[0] + timedelta(seconds=1))
        recent.append(now)
        self._hours[api, hour] += 1
        self._days[api, now.date()] += 1
        return None


class Peaks:
    """Highest number of calls in any second and in any hour, as sliding spans."""

    def __init__(self) -> None:
        self.calls = self.max_in_any_second = self.max_in_any_hour = 0
        self._second: deque[float] = deque()
        self._hour: deque[float] = deque()

    def add(self, now_s: float) -> None:
        """Count a call at ``now_s``, in seconds since 1970."""
        self.calls += 1
        self.max_in_any_second = max(self.max_in_any_second, _count_in_span(self._second, now_s, 1))
        self.max_in_any_hour = max(self.max_in_any_hour, _count_in_span(self._hour, now_s, 3600))


def _count_in_span(moments: deque[float], now_s: float, length_s: float) -> int:
    """Append a call to those of the span before it and return their number; a clock set back begins a new span."""
    if moments and now_s < moments[-1]:
        moments.clear()
    moments.append(now_s)
    while moments[0] <= now_s - length_s:
        moments.popleft()
    return len(moments)


class CallReport:
    """Report of the calls that the supplier received; its peaks cover the calls that a quota counts."""

    def __init__(self) -> None:
        self._by_status: Counter[int] = Counter()
        self._calls = 0
        self._by_usage_point: Counter[str] = Counter()
        self._peaks = Peaks()
        self._tokens: Counter[str] = Counter()

    def add_call(self, usage_point: str | None, api: str | None, now: datetime) -> None:
        """Count a call; ``api`` is the quota it falls under, None for consent and tokens."""
        self._calls += 1
        if usage_point:
            self._by_usage_point[usage_point] += 1
        if api is not None:
            self._peaks.add(now.timestamp())

    def add_status(self, status: int) -> None:
        """Count an answer by its HTTP status."""
        self._by_status[status] += 1

    def add_token(self, grant_type: str) -> None:
        """Count an issued token by its OAuth grant type."""
        self._tokens[grant_type] += 1

    def as_json(self) -> Json:
        """Return the report as ``/__sim__/report`` shows it."""
        return {
            "max_in_any_second": self._peaks.max_in_any_second,
            "max_in_any_hour": self._peaks.max_in_any_hour,
            "calls": self._calls,
            "data_calls": self._peaks.calls,
            "by_status": {str(status): count for status, count in sorted(self._by_status.items())},
            "by_usage_point": dict(sorted(self._by_usage_point.items())),
            "refusals": self._by_status[429],
            "tokens": dict(sorted(self._tokens.items())),
        }


class Bans:
    """The calls of each address in each half of a day (0 to 12 h, 12 to 24 h), and the addresses that are banned.

    As at conso-api, nothing lifts a ban but its author: here ``forget``.
    """

    def __init__(self, limit: int = USUAL_LIMIT) -> None:
        self.limit = limit
        self.banned: set[str] = set()
        self._calls: Counter[tuple[str, date, bool]] = Counter()

    def count(self, address: str, now: datetime) -> bool:
        """Count a call at the local time ``now``, and return whether the address is banned."""
        half_day = address, now.date(), now.hour >= 12
        self._calls[half_day] += 1
        if self._calls[half_day] >= self.limit:
            self.banned.add(address)
        return address in self.banned

    def most_calls(self) -> int:
        """Return the most calls of an address in half a day."""
        return max(self._calls.values(), default=0)

    def forget(self) -> None:
        """Lift all bans, and restart the counts."""
        self.banned.clear()
        self._calls.clear()


class GasState:
    """What there is of gas: its meters, rights, tokens, quota, report and switches.

    ``grants``: the callback that each code of the consent page was sent to.
    """

    def __init__(self, options: SimulatorOptions, recordings: RecordedFolder, clock: SimulatedClock) -> None:
        self.switches = GasServiceSwitches()
        self.meters = GasMeters(recordings.gas, clock, options)
        self.rights = Rights(clock, self.meters, lambda: self.switches)
        self.consents = Consents(clock, options.seed + 1, () if options.invents_homes else sorted(recordings.gas))
        self.tokens = Tokens(clock)
        self.grants: dict[str, str] = {}
        self.quota = CallQuota()
        self.report = CallReport()


class SimulatorState:
    """Options, clock, meters, consents, tokens, quota, report, bans, faults and switches of a simulator; its gas."""

    def __init__(self, options: SimulatorOptions, recordings: RecordedFolder) -> None:
        self.options = options
        self.clock = SimulatedClock(options.pretend_now)
        self.meters = Meters(recordings.meters, self.clock, options)
        self.consents = Consents(self.clock, options.seed, () if options.invents_homes else sorted(recordings.meters))
        self.tokens, self.rte_tokens = Tokens(self.clock), Tokens(self.clock)
        self.quota = CallQuota(options.per_second, options.per_hour)
        self.report = CallReport()
        self.bans = Bans()
        self.faults: list[InjectedFault] = []
        self.switches = ServiceSwitches()
        self.gas = GasState(options, recordings, self.clock)
