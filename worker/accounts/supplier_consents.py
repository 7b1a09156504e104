"""What a consent needs of the supplier: the address of its page, and what it says of a callback."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date

from worker.clients.endpoints import Endpoints
from worker.clients.enedis.consent import authorize_url, fetch_shared_meters, usage_points_of_grant
from worker.clients.enedis.presets import SUBSCRIBED_SERVICES
from worker.clients.oauth import Grant
from worker.clients.session import SupplierSession
from worker.domain.clock import Clock
from worker.domain.consent.connection_requests import ConnectionRequest, SharedMeter
from worker.domain.consent.consents import ConsentKind
from worker.domain.consent.durations import without_years
from worker.domain.measures.readings import civil_date
from worker.errors import UnknownUsagePoint


@dataclass(frozen=True, slots=True)
class ConsentAnswer:
    """What a callback says with what the supplier says of it.

    ``line``: the endpoint that was asked, None where none was; ``digest``: the SHA-256 of its answer's bytes.
    """

    kind: ConsentKind
    meters: Sequence[SharedMeter]
    grant: Grant | None = None
    line: str | None = None
    digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class SupplierConsents:
    """The supplier's side of a consent.

    ``duration`` is the setting for how long consent is requested, None for the preset's longest. ``account_tokens``
    says whether each account has its own token (v4). ``open_session`` returns a session with the application's token.
    """

    endpoints: Endpoints
    client_id: str
    duration: str | None
    account_tokens: bool
    exchange_code: Callable[[str], Grant]
    open_session: Callable[[], SupplierSession]
    now: Clock

    def consent_duration(self) -> str:
        """Return the ISO 8601 duration for which consent is requested; the API of 2026 accepts no years."""
        preset = self.endpoints.preset
        duration = self.duration or preset.consent_duration
        return without_years(duration) if preset.consent_style == "autorisation" else duration

    def consent_page(self, state: str) -> str:
        """Return the address to send the person to. Raises ValueError if the supplier has no consent page."""
        return authorize_url(self.endpoints, self.client_id, state, self.consent_duration())

    def today(self) -> date:
        """Return today's date in Europe/Paris."""
        return civil_date(self.now())

    def confirm_code(self, code: str, usage_points: Collection[str]) -> tuple[Grant, tuple[str, ...]]:
        """Exchange a code (v4), and return the holder's tokens with the meters that the token answer names.

        ``usage_points``: what the callback names. Raises UnknownUsagePoint where the answer doesn't name them all, or
        none, and what the client raises.
        """
        grant = self.exchange_code(code)
        confirmed = usage_points_of_grant(grant, self.client_id)
        if not confirmed or not set(usage_points) <= set(confirmed):
            # Without a meter of the supplier's own it is no consent; the token is forgotten here.
            raise UnknownUsagePoint("the supplier does not confirm the meter: connect again")
        return grant, confirmed

    def ask(self, request: ConnectionRequest) -> ConsentAnswer:
        """Return what a callback says with what the supplier says of it, in one call at most; v5 has nothing to ask.

        Raises UnknownUsagePoint where the token answer of v4 doesn't name the callback's meters itself, and what the
        client raises.
        """
        if request.code is not None:
            grant, confirmed = self.confirm_code(request.code, request.usage_points)
            kind = ConsentKind.CODE if "usage_points_id" in grant.extras else ConsentKind.ID_TOKEN
            named = [SharedMeter(number) for number in request.usage_points or confirmed]
            return ConsentAnswer(kind, named, grant, self._line(self.endpoints.preset.token_path), grant.digest)
        if request.autorisation_id is not None:
            meters, digest = fetch_shared_meters(self.open_session(), request.autorisation_id, self.now())
            line = self._line(SUBSCRIBED_SERVICES)
            return ConsentAnswer(ConsentKind.AUTORISATION, meters, None, line, digest)
        return ConsentAnswer(ConsentKind.USAGE_POINT, [SharedMeter(number) for number in request.usage_points])

    def _line(self, path: str) -> str:
        return f"{self.endpoints.preset.name} POST {path}"
