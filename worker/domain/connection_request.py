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

MOST_METERS: Final = 10  # Per callback; a callback with more meters is refused as a whole.
LONGEST_QUERY: Final = 2048  # In bytes.
# With Enedis' API of 2026, the supplier knows a consent only some seconds after it was given. After this many tries,
# the consent's id counts as unknown.
MOST_UNKNOWN: Final = 12
OTHER_METER: Final = "other_meter"  # The page for a consent that doesn't name the invitation's meter.
_WAITS_S: Final = (2, 3, 5, 10, 20, 40, 60, 120, 300)  # The wait before the next try, by the number of earlier tries.


class RequestState(StrEnum):
    ASKING = "asking"  # The supplier is asked until it answers.
    CHOICE = "choice"  # The proven meter has another person's account; the new person must say whether they moved in.
    # The request waits for the operator: there are too many new accounts, the typed reading would close another
    # account, a gas request came without an invitation, or nothing shows that the account of a recorded consent is this
    # person's.
    HELD = "held"
    UNPROVEN = "unproven"  # There is no proof; the person may still type a reading of the meter's display (proof P4).
    CONNECTED = "connected"
    HANDED_OVER = "handed_over"  # A client of the proxy gets a code for the request, and no account is created.
    DECLARED = "declared"  # A right is declared to the supplier, which asks the holder (``access_right.TRANSITIONS``).
    REFUSED = "refused"


class RequestEvent(StrEnum):
    NO_ANSWER = "no_answer"  # The supplier doesn't answer, or a rate limit applies.
    PROVEN = "proven"  # The person has proved the meter; in ``choice``, they have also said that they moved in.
    NOT_PROVEN = "not_proven"  # There is no proof, or an account of another tenant reads the meter.
    OTHER_PERSON = "other_person"  # The meter is proven, but another person has an account for it.
    TOO_MANY = "too_many"  # The meter is proven, but there are too many new accounts.
    UNVOUCHED = "unvouched"  # The request declares a right, and nobody has invited the person.
    OTHER_BY_READING = "other_by_reading"  # Only a reading proves the meter, and another person has an account for it.
    HISTORY_HELD = "history_held"  # A listed invitation has renewed a consent; whose account it is isn't confirmed.
    LET_IN = "let_in"  # The operator accepts the request.
    VOUCHED = "vouched"  # The operator vouches for a request that declares a right.
    TURNED_AWAY = "turned_away"  # The operator refuses the request.
    READING_TYPED = "reading_typed"  # The person has typed a reading of the meter's display.
    HANDED_OVER = "handed_over"  # A proxy client gets a code from us: after the proof or, with v4, already before it.
    DECLARED = "declared"  # The supplier has registered the right that the household declares.
    REFUSED = "refused"  # The supplier refuses the request, or its invitation has ended.
    REPLACED = "replaced"  # A newer request of the same browser replaces this one.
    ERASED = "erased"  # The account, the meter or the browser that the request names is erased.
    EXPIRED = "expired"  # Seven days have passed since the request began, or a quarter of an hour since it ended.


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
    (_E.OTHER_BY_READING, (_S.ASKING, _S.CHOICE, _S.HELD), _S.HELD),  # Only 0.2.0 left such a request in CHOICE.
    (_E.HISTORY_HELD, (_S.ASKING, _S.CHOICE), _S.HELD),
    (_E.LET_IN, (_S.HELD,), _S.CONNECTED),
    (_E.VOUCHED, (_S.HELD,), _S.ASKING),
    (_E.TURNED_AWAY, (_S.HELD,), _S.REFUSED),
    (_E.READING_TYPED, (_S.UNPROVEN, _S.HELD), _S.ASKING),  # A held request only if it waits with a history.
    (_E.REPLACED, _WAITING, None),
    (_E.ERASED, tuple(RequestState), None),
    (_E.EXPIRED, tuple(RequestState), None),
)


@dataclass(frozen=True, slots=True)
class ProvenMeters:
    """The proven meters, with the dates and the token of their consent.

    ``token``: None if data are read with the application's token. ``since`` and ``until``: the consent's first and last
    day according to the supplier; None if unknown. ``line`` and ``answer_digest``: the supplier's endpoint that was
    called, and the SHA-256 of its answer; None without a call. ``offered``: the series that the consent covers, by
    meter, as far as the supplier says so.
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
    """An account that a request has connected.

    ``session_number``: the number with which the browser's session must name the account (``Account.session_number``).
    """

    id: str
    session_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRequest:
    """A callback and its progress.

    ``browser``: SHA-256 of the secret name that the browser got when it came back from the supplier; only this browser
    sees the outcome. ``known_as``: the hashes of the browser's earlier names. ``address``: the browser's IP address.
    ``invitation_id``: the invitation with which the request was begun. ``tenant``: the invitation's tenant, to which a
    new account belongs.
    ``begun_on`` and ``begun_at``: the day (Europe/Paris) and the moment at which the person was sent to the supplier's
    page; ``begun_at`` is None if unknown. ``session``: the accounts of the browser's session, with their session
    numbers.
    ``usage_points``, ``autorisation_id`` and ``code``: the content of the callback, which depends on the API's
    generation.
    ``was_unknown``: whether the supplier has ever answered that it doesn't know the consent. Then somebody may have
    guessed a number that no consent had yet, so no reading can prove the consent.
    ``new_holder``: whether the person has said that the meter's account is another person's.
    ``caller``: the client of the proxy for which the request was made, if any. ``returns_to``: the client's address, to
    which the browser takes our code.
    ``accounts``: the accounts that the request has connected. If it isn't final, it has recorded their consent, but
    waits with their history.
    ``readings``: the display's registers as typed by the person, in kWh by tariff period.
    ``declaration``: the person's input for the declaration of a right; deleted once the request is final.
    ``vouched_by``: the operator who has accepted the request.
    ``page``: the name of the page that says what the request waits for or why it ended; empty if the account's own page
    does.
    ``created_at``, ``begun_at`` and ``next_try_at`` are in real time, even if the fleet's time is simulated.
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
        """Return the request after an event. Raises WrongState if the event can't happen now or deletes the request."""
        state = TRANSITIONS[self.state, event]
        if state is None:
            raise WrongState(f"a request that was {event} is gone")
        return replace(self, state=state, **changes)

    def waiting(self, page: str, now: datetime, wait_s: float | None = None) -> Self:
        """Return the request with its next try set: after the usual wait, or after ``wait_s`` if that is longer."""
        usual = _WAITS_S[min(self.tries, len(_WAITS_S) - 1)]
        next_try_at = now + timedelta(seconds=max(usual, wait_s or 0.0))
        return self.after(RequestEvent.NO_ANSWER, tries=self.tries + 1, next_try_at=next_try_at, page=page)

    def for_other_meter(self, kind: ConsentKind, meters: Sequence[SharedMeter]) -> Self:
        """Return the request as unproven, because its consent doesn't name the invitation's meter.

        The new ``usage_points`` are the meters that the request's page may show: none for a consent of 2026 whose
        number may have been guessed.
        """
        told = meters
        if kind is ConsentKind.AUTORISATION:
            told = [] if self.was_unknown else [meter for meter in meters if meter.is_since(self.begun_on)]
        numbers = tuple(meter.usage_point_id for meter in told)
        return self.after(RequestEvent.NOT_PROVEN, usage_points=numbers, page=OTHER_METER)

    def is_due(self, now: datetime) -> bool:
        """Return whether it is time to ask the supplier about this request."""
        return self.state is RequestState.ASKING and (self.next_try_at is None or self.next_try_at <= now)

    @property
    def is_final(self) -> bool:
        """Whether the request has ended. A newer request replaces only requests that haven't ended."""
        return self.state not in _WAITING

    @property
    def names(self) -> tuple[str, ...]:
        """The hashes of all names of the request's browser, newest first."""
        return (self.browser, *self.known_as)

    @property
    def asks_supplier(self) -> bool:
        """Whether the next step of the request calls the supplier; then a task takes this step, never a web thread."""
        if self.state is not RequestState.ASKING or self.keeps_code or not self.needs_proof:
            return False
        return self.code is not None or self.autorisation_id is not None or self.declaration is not None

    @property
    def needs_proof(self) -> bool:
        """Whether a proof is still sought; a typed reading is sought even if a weaker proof is known."""
        return self.proven is None or bool(self.readings)

    @property
    def holds_history(self) -> bool:
        """Whether the consent is recorded, but the history waits for a proof or the operator."""
        return self.state is RequestState.HELD and bool(self.accounts)

    @property
    def vouched(self) -> bool:
        """Whether the calls for this request come before the calls for strangers.

        They do if the person was invited or the operator vouches, but not if the request checks a typed reading.
        """
        return (self.invitation_id is not None or self.vouched_by is not None) and not self.readings

    @property
    def keeps_code(self) -> bool:
        """Whether the supplier's code (v4) stays unused until a client of the proxy redeems our code."""
        return self.caller is not None and self.code is not None

    @property
    def names_meters(self) -> tuple[str, ...]:
        """The meters that the callback, the proof or the declaration names."""
        declared = (self.declaration.meter,) if self.declaration else ()
        proven = self.proven.usage_points if self.proven else ()
        return tuple(dict.fromkeys((*self.usage_points, *proven, *declared)))


def find_proof(
    kind: ConsentKind, meters: Sequence[SharedMeter], begun_on: date, invited_meter: str | None
) -> tuple[Proof, tuple[SharedMeter, ...]] | None:
    """Return the proof of a consent with the proven meters; None if there is no proof.

    - P1: the supplier's own token answer names the meters (``CODE``, ``ID_TOKEN``).
    - P2: the consent was begun with an invitation that names one of the meters; only this meter is proven.
    - P3, needed in addition to P2 in 2026 (``AUTORISATION``): the consent isn't older than the day on which the request
      was begun. Without P3, a guessed id or an old consent's would be enough. A holder's new consent has the
      same id as the old one, so only the date shows that it is new.

    ``invited_meter``: the meter of the invitation that the browser opened, or of that invitation's account; None
    without an invitation.
    """
    if kind in (ConsentKind.CODE, ConsentKind.ID_TOKEN):
        return (Proof.EXCHANGE, tuple(meters)) if meters else None
    if invited_meter is None:
        return None
    invited = tuple(meter for meter in meters if meter.usage_point_id == invited_meter)
    if kind is ConsentKind.AUTORISATION:
        invited = tuple(meter for meter in invited if meter.is_since(begun_on))
    return (Proof.INVITED, invited) if invited else None
