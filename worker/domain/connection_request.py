"""Connection requests: callbacks from the supplier's consent page, until they are proven or refused.

Anybody can type a callback's address, so a callback changes nothing by itself. It creates a request, and only a proof
(``find_proof``) leads to an account. docs/explanation/ownership.md shows the table of transitions and the strength of
each proof.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Self

from worker.domain.access_right import HouseholdDeclaration
from worker.domain.account import DEFAULT_TENANT
from worker.domain.consents import ConsentKind, Proof, SharedMeter
from worker.domain.oauth_proxy import ProxyCaller
from worker.domain.series import Series
from worker.domain.transitions import Transitions, WrongState

MOST_METERS: Final = 10  # Per callback; one with more is refused as a whole.
LONGEST_QUERY: Final = 2048  # In bytes.
# The supplier knows a consent of 2026 some seconds after it was given. After so many tries an id counts as unknown.
MOST_UNKNOWN: Final = 12
OTHER_METER: Final = "other_meter"  # The page of a consent for another meter than the invitation.
_WAITS_S: Final = (2, 3, 5, 10, 20, 40, 60, 120, 300)  # By the number of earlier tries.


class RequestState(StrEnum):
    """The state of a request."""

    ASKING = "asking"  # The supplier is asked until it answers.
    CHOICE = "choice"  # Proven, but the meter has another person's account: the person chooses.
    HELD = "held"  # The operator decides: too many new accounts, a reading that would close one, gas uninvited.
    UNPROVEN = "unproven"  # There is no proof; the person may still type a reading of the meter's display (P4).
    CONNECTED = "connected"
    HANDED_OVER = "handed_over"  # A client of the proxy gets a code for it, and no account is created.
    DECLARED = "declared"  # Its right is declared to the supplier, which asks the holder; see the table of rights.
    REFUSED = "refused"


class RequestEvent(StrEnum):
    """An event of a request."""

    NO_ANSWER = "no_answer"  # The supplier doesn't answer, or a rate limit applies.
    PROVEN = "proven"  # The meter is the person's; in ``choice`` the person has confirmed it.
    NOT_PROVEN = "not_proven"  # There is no proof, or an account of another tenant reads the meter.
    OTHER_PERSON = "other_person"  # Proven, for a meter with an account of another person.
    TOO_MANY = "too_many"  # Proven, but above the limit of new accounts.
    UNVOUCHED = "unvouched"  # It declares a right, and nobody has invited its person.
    OTHER_BY_READING = "other_by_reading"  # Proven only by a reading, for a meter with an account of another person.
    LET_IN = "let_in"  # By the operator.
    VOUCHED = "vouched"  # By the operator, for a right that it declares.
    TURNED_AWAY = "turned_away"  # By the operator.
    READING_TYPED = "reading_typed"  # The person has typed a reading of the meter's display.
    HANDED_OVER = "handed_over"  # To a client of the proxy: proven, or with a code of v4, which may become a proof.
    DECLARED = "declared"  # The supplier has registered the right that the household declares.
    REFUSED = "refused"  # By the supplier, or because the invitation has ended.
    REPLACED = "replaced"  # By a newer one of the same browser.
    ERASED = "erased"  # With the account, the meter or the browser that it names.
    EXPIRED = "expired"  # After seven days, or a quarter of an hour after its end.


_S, _E = RequestState, RequestEvent
_WAITING: Final = (_S.ASKING, _S.CHOICE, _S.HELD, _S.UNPROVEN)
# The state after each event; None: the request is deleted.
TRANSITIONS: Final = Transitions[RequestState, RequestEvent, RequestState | None](
    (_E.NO_ANSWER, (_S.ASKING,), _S.ASKING),
    (_E.NOT_PROVEN, (_S.ASKING, _S.CHOICE, _S.HELD), _S.UNPROVEN),
    (_E.REFUSED, (_S.ASKING, _S.CHOICE, _S.HELD), _S.REFUSED),
    (_E.PROVEN, (_S.ASKING, _S.CHOICE), _S.CONNECTED),
    (_E.HANDED_OVER, (_S.ASKING,), _S.HANDED_OVER),
    (_E.DECLARED, (_S.ASKING,), _S.DECLARED),
    (_E.OTHER_PERSON, (_S.ASKING, _S.HELD), _S.CHOICE),
    (_E.TOO_MANY, (_S.ASKING, _S.CHOICE), _S.HELD),
    (_E.UNVOUCHED, (_S.ASKING,), _S.HELD),
    (_E.OTHER_BY_READING, (_S.ASKING, _S.CHOICE, _S.HELD), _S.HELD),  # 0.2.0 let the person choose.
    (_E.LET_IN, (_S.HELD,), _S.CONNECTED),
    (_E.VOUCHED, (_S.HELD,), _S.ASKING),
    (_E.TURNED_AWAY, (_S.HELD,), _S.REFUSED),
    (_E.READING_TYPED, (_S.UNPROVEN,), _S.ASKING),
    (_E.REPLACED, _WAITING, None),
    (_E.ERASED, tuple(RequestState), None),
    (_E.EXPIRED, tuple(RequestState), None),
)


@dataclass(frozen=True, slots=True)
class ProvenMeters:
    """The proven meters, the dates of the consent, and the token if each account has its own.

    ``since`` and ``until`` are the first and the last day according to the supplier, or None. ``line`` and
    ``answer_digest``: the supplier's endpoint that was called, and the SHA-256 of its answer; None without a call.
    ``offered``: the series that the consent covers, for the meters for which the supplier says so.
    """

    proof: Proof
    kind: ConsentKind
    usage_points: tuple[str, ...] = field(repr=False)
    reference: str | None = field(default=None, repr=False)
    since: date | None = None
    until: date | None = None
    token: str | None = field(default=None, repr=False)
    token_expires_at: datetime | None = None
    line: str | None = None
    answer_digest: str | None = None
    offered: Mapping[str, frozenset[Series]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ConnectedAccount:
    """An account that a request has connected, with the number that the browser's session must name."""

    id: str
    session_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRequest:
    """A callback and its progress.

    ``browser``: SHA-256 of the secret name that the browser got when it came back; only this browser sees the outcome.
    ``known_as``: the hashes of its earlier names. ``address``: its IP address.
    ``invitation_id``: the invitation with which it was begun; ``tenant``: the invitation's, which a new account gets.
    ``begun_on``: the day (Europe/Paris) on which the person was sent to the supplier's page, and ``begun_at`` the
    moment; None if unknown. ``session``: the accounts of the browser's session with their numbers.
    ``usage_points``, ``autorisation_id`` and ``code``: the content of the callback, by generation.
    ``was_unknown``: whether the supplier once didn't know the consent. Then its number may have been guessed before its
    holder got it, so no reading can prove it.
    ``new_holder``: whether the person has said that the meter's account is another person's.
    ``caller``: the client of the proxy that it is for; ``returns_to``: the address to which its code was sent.
    ``readings``: the display's registers as typed by the person, in kWh by tariff period.
    ``declaration``: the person's input for the declaration of a right; deleted once the request is final.
    ``vouched_by``: the operator who has accepted it.
    ``page``: the name of the page that says what it waits for or why it ended, unless the account's own page does.
    ``created_at``, ``begun_at`` and ``next_try_at`` are real moments even if the fleet's time is simulated.
    """

    id: str
    supplier: str
    browser: str = field(repr=False)
    begun_on: date
    created_at: datetime
    begun_at: datetime | None = None
    known_as: tuple[str, ...] = field(default=(), repr=False)
    address: str = field(default="", repr=False)
    invitation_id: str | None = None
    tenant: str = DEFAULT_TENANT
    session: Mapping[str, int] = field(default_factory=dict)
    usage_points: tuple[str, ...] = field(default=(), repr=False)
    autorisation_id: int | None = field(default=None, repr=False)
    code: str | None = field(default=None, repr=False)
    state: RequestState = RequestState.ASKING
    proven: ProvenMeters | None = None
    tries: int = 0
    next_try_at: datetime | None = None
    was_unknown: bool = False
    new_holder: bool = False
    accounts: tuple[ConnectedAccount, ...] = ()
    caller: ProxyCaller | None = None
    returns_to: str = field(default="", repr=False)
    readings: Mapping[str, int] = field(default_factory=dict, repr=False)
    declaration: HouseholdDeclaration | None = field(default=None, repr=False)
    page: str = ""
    vouched_by: str | None = None

    def after(self, event: RequestEvent, **changes: Any) -> Self:
        """Return the request after an event. Raises WrongState for one that can't happen, or that deletes it."""
        state = TRANSITIONS[self.state, event]
        if state is None:
            raise WrongState(f"a request that was {event} is gone")
        return replace(self, state=state, **changes)

    def waiting(self, page: str, now: datetime, wait_s: float | None = None) -> Self:
        """Return the request with its next try, after the usual wait, or after ``wait_s`` if that is longer."""
        usual = _WAITS_S[min(self.tries, len(_WAITS_S) - 1)]
        next_try_at = now + timedelta(seconds=max(usual, wait_s or 0.0))
        return self.after(RequestEvent.NO_ANSWER, tries=self.tries + 1, next_try_at=next_try_at, page=page)

    def for_other_meter(self, kind: ConsentKind, meters: Sequence[SharedMeter]) -> Self:
        """Return the unproven request whose consent names only other meters than the invitation.

        Its ``usage_points`` are those that its page may show: none for a consent of 2026 whose number may be guessed.
        """
        told = meters
        if kind is ConsentKind.AUTORISATION:
            told = [] if self.was_unknown else [meter for meter in meters if meter.is_since(self.begun_on)]
        numbers = tuple(meter.usage_point_id for meter in told)
        return self.after(RequestEvent.NOT_PROVEN, usage_points=numbers, page=OTHER_METER)

    def is_due(self, now: datetime) -> bool:
        """Return whether the supplier may be asked now."""
        return self.state is RequestState.ASKING and (self.next_try_at is None or self.next_try_at <= now)

    @property
    def is_final(self) -> bool:
        """Whether it has ended, so that no newer request replaces it."""
        return self.state not in _WAITING

    @property
    def names(self) -> tuple[str, ...]:
        """The hashes of all names of its browser, the newest first."""
        return (self.browser, *self.known_as)

    @property
    def asks_supplier(self) -> bool:
        """Whether its next step calls the supplier, so that a task takes it, never a web thread."""
        if self.state is not RequestState.ASKING or self.proven is not None or self.keeps_code:
            return False
        return self.code is not None or self.autorisation_id is not None or self.declaration is not None

    @property
    def vouched(self) -> bool:
        """Whether its calls come before those of strangers: the person was invited, or the operator vouches.

        The calls for a typed reading don't.
        """
        return (self.invitation_id is not None or self.vouched_by is not None) and not self.readings

    @property
    def keeps_code(self) -> bool:
        """Whether its code of v4 is exchanged only when a client of the proxy redeems our code."""
        return self.caller is not None and self.code is not None

    @property
    def names_meters(self) -> tuple[str, ...]:
        """The meters that the callback, its proof or the declaration names."""
        declared = (self.declaration.meter,) if self.declaration else ()
        proven = self.proven.usage_points if self.proven else ()
        return tuple(dict.fromkeys((*self.usage_points, *proven, *declared)))


def find_proof(
    kind: ConsentKind,
    meters: Sequence[SharedMeter],
    begun_on: date,
    invited_meter: str | None,
) -> tuple[Proof, tuple[SharedMeter, ...]] | None:
    """Return the proof of a consent with the proven meters, or None.

    - P1: the supplier's own token answer names the meters (``CODE``, ``ID_TOKEN``).
    - P2: the consent was begun with an invitation that names one of the meters; it proves only that one.
    - P3, in addition to P2, in 2026 (``AUTORISATION``): the consent is no older than the day on which the request was
      begun, because the same holder gets the same id again, and ids can be guessed.

    ``invited_meter``: the meter of the invitation that the browser opened, or of its account; None without an
    invitation.
    """
    if kind in (ConsentKind.CODE, ConsentKind.ID_TOKEN):
        return (Proof.EXCHANGE, tuple(meters)) if meters else None
    if invited_meter is None:
        return None
    invited = tuple(meter for meter in meters if meter.usage_point_id == invited_meter)
    if kind is ConsentKind.AUTORISATION:
        invited = tuple(meter for meter in invited if meter.is_since(begun_on))
    return (Proof.INVITED, invited) if invited else None
