"""The interface of a supplier: its client, its description, and its part in a consent.

To add a supplier, add a folder next to ``enedis`` with the same files, and a line to ``suppliers.SUPPLIERS``:

=============== ====================================================================================================
``presets.py``  the generations of its API (paths of the series, names of parameters, kinds of tokens, limits, quotas)
                and the shapes of its answers, for each of its series
``client.py``   a ``SupplierClient``, which turns replies into an ``Answer`` or one of ``worker.errors``
``consent.py``  the address of its consent page, the callback, the meters of a consent, and rights of access
=============== ====================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Protocol

from worker.clients.answer_shapes import AnswerShape
from worker.clients.endpoints import Callback, Endpoints, Preset
from worker.clients.oauth import Grant
from worker.clients.supplier_session import SupplierSession
from worker.domain.access_right import DeclaredRight, RightDeclaration, RightRecord
from worker.domain.answers import Answer, Deviation
from worker.domain.clock import Clock
from worker.domain.consents import ConsentKind, SharedMeter, without_years
from worker.domain.series import Series
from worker.domain.windows import DateWindow, civil_date
from worker.errors import UnknownUsagePoint

if TYPE_CHECKING:
    from worker.domain.connection_request import ConnectionRequest


class SupplierClient(Protocol):
    """The client for the series of one account or of the whole application."""

    def ask(self, series: Series, usage_point_id: str, window: DateWindow) -> Answer:
        """Request one window of a series; the window's end is excluded. Each HTTP call counts for the quota.

        Only the needed fields of an answer leave the client: no name, address, email or telephone number. Raises
        TransientError, AccountError, SeriesNotOffered (the meter has no such series), MalformedAnswer, RequestRefused
        or OperatorFault.
        """
        ...


@dataclass(frozen=True)
class SeriesClient:
    """The base class for the clients of all suppliers.

    ``now`` returns the system's time, which is zone-aware and may be simulated. ``report`` is called with each
    undocumented refusal, before the refusal's error is raised.
    """

    endpoints: Endpoints
    session: SupplierSession
    now: Clock
    report: Callable[[Deviation], object] = lambda deviation: None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentCalls:
    """The functions of a supplier's ``consent.py`` for its consent page and the callback.

    ``page``: takes the endpoints, our client id, the state, the duration and the address of our callback; returns the
    address of the consent page, or raises ValueError if there is none. ``read_callback``: reads the query of a
    callback, and raises nothing. ``meters_of_grant``: takes the grant for a code, our client id and the current time;
    returns the meters that the grant names. ``meter``: the pattern of a meter's number. ``sends_redirect``: whether the
    address of our callback must be sent again when a code is exchanged. ``shared_meters``: takes a session, the number
    of a consent (2026) and the current time; makes one call, and returns the consent's meters and the SHA-256 of the
    answer. ``shared_path``: the endpoint of this call.
    """

    page: Callable[[Endpoints, str, str, str, str], str]
    read_callback: Callable[[Mapping[str, str] | Iterable[tuple[str, str]]], Callback]
    meters_of_grant: Callable[[Grant, str, datetime], tuple[str, ...]]
    meter: re.Pattern[str]
    sends_redirect: bool = False
    shared_meters: Callable[[SupplierSession, int, datetime], tuple[Sequence[SharedMeter], str]] | None = None
    shared_path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RightCalls:
    """The calls of a supplier that registers rights of access; each takes a session of the application.

    ``declare`` raises RightRefused and UnknownUsagePoint. ``list_rights`` takes at most ``longest_list`` meters, and
    returns only the rights of these meters. ``withdraw`` and ``upload`` take the supplier's id of a right. ``withdraw``
    raises no error for a right that doesn't exist any more. ``upload`` sends one to three files, by name and content.
    All four also raise the errors of a session.
    """

    declare: Callable[[SupplierSession, RightDeclaration], DeclaredRight]
    list_rights: Callable[[SupplierSession, Sequence[str]], Sequence[RightRecord]]
    withdraw: Callable[[SupplierSession, str], None]
    upload: Callable[[SupplierSession, str, Sequence[tuple[str, bytes]]], None]
    longest_list: int
    history_days: int  # How many days back consumption may be requested.


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplier:
    """The description of a supplier. Its texts for people are ``supplier.<name>`` in ``locales/names.json``.

    ``name``: the supplier's name in accounts, addresses and descriptions of series. ``presets``: the generations of its
    API; a setting chooses one of them for all accounts. ``client``: builds the client for a session. ``shapes``: the
    expected forms of its answers, by series. ``consent``: None if it has no consent page. ``rights``: None if it
    doesn't register rights.
    """

    name: str
    presets: Mapping[str, Preset]
    client: Callable[[Endpoints, SupplierSession, Clock, Callable[[Deviation], None]], SupplierClient]
    shapes: Mapping[Series, Sequence[AnswerShape]]
    consent: ConsentCalls | None = None
    rights: RightCalls | None = None


@dataclass(frozen=True, slots=True)
class ConsentAnswer:
    """The meters that belong to a callback, with the supplier's confirmation.

    ``grant``: the tokens of the account; None if the account has no tokens of its own. ``line``: the endpoint that was
    called; None if no call was needed. ``digest``: the SHA-256 of the bytes of that call's answer.
    """

    kind: ConsentKind
    meters: Sequence[SharedMeter]
    grant: Grant | None = None
    line: str | None = None
    digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class SupplierConsents:
    """The supplier's part in a consent: the address of the consent page, and the confirmation of a callback.

    ``calls`` contains the code that differs between suppliers. ``duration`` is the setting for how long consent is
    requested; None means the preset's duration. ``account_tokens`` says whether each account has its own token (v4).
    ``open_session`` returns a session with the application's token. ``redirect_uri``: the address of our callback.
    """

    calls: ConsentCalls
    endpoints: Endpoints
    client_id: str
    duration: str | None
    account_tokens: bool
    exchange_code: Callable[[str], Grant]
    open_session: Callable[[], SupplierSession]
    redirect_uri: str
    now: Clock

    @property
    def takes_code(self) -> bool:
        """Whether each callback must have a code, which we exchange as proof of the consent (v4, GRDF)."""
        return self.account_tokens or self.calls.sends_redirect

    def consent_duration(self) -> str:
        """Return the ISO 8601 duration for which consent is requested; without years for the API of 2026."""
        preset = self.endpoints.preset
        duration = self.duration or preset.consent_duration
        return without_years(duration) if preset.consent_style == "autorisation" else duration

    def consent_page(self, state: str) -> str:
        """Return the address of the page to which the person is sent. Raises ValueError if the supplier has none."""
        return self.calls.page(self.endpoints, self.client_id, state, self.consent_duration(), self.redirect_uri)

    def read_callback(self, params: Mapping[str, str] | Iterable[tuple[str, str]]) -> Callback:
        """Read the query of a callback. A callback that can't be used is returned as a failure."""
        return self.calls.read_callback(params)

    def is_meter(self, text: str) -> bool:
        """Return whether a text has the form of this supplier's meter numbers."""
        return self.calls.meter.fullmatch(text) is not None

    def today(self) -> date:
        return civil_date(self.now())

    def confirm_code(self, code: str, usage_points: Collection[str]) -> tuple[Grant, tuple[str, ...]]:
        """Exchange a code; return the answer, and the meters that it names.

        ``usage_points``: the meters that the callback names. Raises UnknownUsagePoint if the answer names no meter, or
        not all of ``usage_points``. Also raises the errors of ``OAuthClient``.
        """
        grant = self.exchange_code(code)
        confirmed = self.calls.meters_of_grant(grant, self.client_id, self.now())
        if not confirmed or not set(usage_points) <= set(confirmed):
            # No consent to read these meters is proven, so the token is discarded.
            raise UnknownUsagePoint("the supplier does not confirm the meter: connect again")
        return grant, confirmed

    def ask(self, request: ConnectionRequest) -> ConsentAnswer:
        """Return the meters of a callback. The supplier is asked to confirm them, in one call; with v5, it isn't asked.

        Raises UnknownUsagePoint if the supplier's answer to a code names no meter, or not all meters of the callback.
        Also raises the errors of ``OAuthClient`` and of a session.
        """
        if request.code is not None:
            grant, confirmed = self.confirm_code(request.code, request.usage_points)
            kind = ConsentKind.CODE if "usage_points_id" in grant.extras else ConsentKind.ID_TOKEN
            named = [SharedMeter(number) for number in request.usage_points or confirmed]
            # A token that isn't needed to read data is discarded.
            kept = grant if self.account_tokens else None
            return ConsentAnswer(kind, named, kept, self._line(self.endpoints.preset.token_path), grant.digest)
        if request.autorisation_id is not None and self.calls.shared_meters is not None:
            meters, digest = self.calls.shared_meters(self.open_session(), request.autorisation_id, self.now())
            line = self._line(self.calls.shared_path)
            return ConsentAnswer(ConsentKind.AUTORISATION, meters, None, line, digest)
        return ConsentAnswer(ConsentKind.USAGE_POINT, [SharedMeter(number) for number in request.usage_points])

    def _line(self, path: str) -> str:
        return f"{self.endpoints.preset.name} POST {path}"
