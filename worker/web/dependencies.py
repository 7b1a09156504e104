"""Dependencies of routes: the parts of this process, the session and its accounts; cookies, forms, tasks to publish.

``app.state`` holds the parts (``asgi.create_app``). A route names the parts that it needs, ``StoresDep`` and the like,
or the browser's ``Visit`` if its helpers need several parts. Every page of an account gets the account through
``OwnAccount``, which lets a browser see only its own accounts.

A session is a row of the registry, opened by the text in the browser's cookie. A household's session shows the accounts
of its household, each with the session number that the account had when the household got the account. If the account's
number has been raised since, the session no longer shows the account. A cookie that is forged, expired or of another
kind gives an empty session.

Browsers on the home's own computer need not sign in. They share one session of the home's household, made when the web
starts. ``is_local`` recognises them by three checks. The sender must have a loopback address, which no other machine
has. No header may show a proxy, because a proxy on this machine passes on the requests of other machines. The requested
host must be a loopback host too, because the host name of a foreign page may lead to this machine. But a proxy need not
reveal itself (nginx by default asks for 127.0.0.1 and adds no header). So everybody must sign in if the address of the
pages implies a proxy, and also in a container, which can't recognise its own machine.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import Depends, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import AfterValidator, AwareDatetime, BeforeValidator

from config.settings import Settings
from worker.accounts.household_access import CODE
from worker.accounts.meter_names import load_name
from worker.app import enqueue_backfill, enqueue_revocation
from worker.clients.grdf import GRDF
from worker.domain.account import Account, AccountState
from worker.domain.audit_entry import ActorKind, AuditAction
from worker.domain.connection_request import ConnectedAccount
from worker.domain.networks import is_loopback_host, is_public_host
from worker.domain.series import Direction, Quantity, Series, SeriesSwitch, daily_of
from worker.domain.sessions import KEY_LIVES, AccessKey, KeyKind
from worker.errors import StoreUnavailable, UnknownAccount
from worker.logs import fields
from worker.runtime.consent_parts import Consent, build_series_chooser
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import Sync
from worker.runtime.web_access import WebAccess
from worker.stores.redis.locks import Rate, RateLimiter
from worker.stores.registry import Registry
from worker.stores.registry.households import Household
from worker.web.client_addresses import client_address, name_device
from worker.web.request_audit import note_actor, note_event
from worker.web.texts import Words

log = logging.getLogger("releve.web")
SESSION_COOKIE: Final = "releve_session"
OPERATOR_COOKIE: Final = "releve_operator"
FORM_COOKIE: Final = "releve_form"
RIGHT_STATE: Final = "/connect/right/state"  # Shows the state of the access right that this browser declared.
DEVICE: Final = "127.0.0.1"  # How the page of sessions names the home's own computer.
_DAY: Final = re.compile(r"\s*\d{4}-\d{2}-\d{2}")
_FORWARDED: Final = ("forwarded", "via", "x-real-ip", "true-client-ip", "cf-connecting-ip")
_FORWARDED_PREFIX: Final = "x-forwarded"


@dataclass(frozen=True, slots=True)
class Session:
    """The session of one browser. A session without a key is empty, and shows no account."""

    key: AccessKey | None = None
    household: Household | None = None
    _empty_sid: str = field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)

    @property
    def sid(self) -> str:
        """The session's id, to which forms are bound; the id alone grants no access."""
        return self.key.id if self.key else self._empty_sid

    @property
    def accounts(self) -> Mapping[str, int]:
        """The household's accounts with their session numbers, in the order in which they were added."""
        return self.household.accounts if self.household else {}

    @property
    def own_key(self) -> AccessKey:
        """The session's key. An empty session has none, so the caller must check first that the session isn't empty."""
        assert self.key is not None  # noqa: S101 - the caller has checked that there is a household
        return self.key

    @property
    def details(self) -> dict[str, str]:
        return dict(self.key.details) if self.key else {}

    def shows(self, account: Account | ConnectedAccount) -> bool:
        """Return whether this session may see the account."""
        return self.accounts.get(account.id) == account.session_number

    def own(self, accounts: Mapping[str, Account]) -> list[Account]:
        """Return the accounts that this session may see, in the session's order. ``accounts``: by id."""
        return [accounts[id_] for id_ in self.accounts if id_ in accounts and self.shows(accounts[id_])]


def load_session(access: WebAccess, cookie: str | None) -> Session:
    """Return the session of a cookie; a new, empty session if the cookie isn't valid."""
    key = access.keys.find(KeyKind.HOUSEHOLD_SESSION, cookie) if cookie else None
    household = access.households.load(key.owner) if key else None
    return Session(key, household) if household else Session()


def reload_session(access: WebAccess, session: Session) -> Session | None:
    """Return the session as it is stored now; None if it has ended."""
    if session.key is None or not access.keys.is_open(session.key):
        return None
    household = access.households.load(session.key.owner)
    return Session(session.key, household) if household else None


def open_session(
    access: WebAccess,
    session: Session,
    accounts: Iterable[Account | ConnectedAccount],
    device: str,
    *,
    joins: bool = True,
) -> tuple[Session, str]:
    """Return a new session that shows these accounts and those of ``session``, and the text for its cookie.

    The previous session ends, because its rights change (protection against session fixation). The accounts join the
    household of ``session``, so that the household's other browsers see them too. If ``joins`` is False, a new
    household is made instead, because somebody may have planted the session's cookie. A new household gets a recovery
    code, which the session shows until the person has saved the code.
    """
    numbers = {account.id: account.session_number for account in accounts}
    household = access.households.add(session.household.id, numbers) if session.household and joins else None
    details = session.details
    if household is None:
        household = access.households.create({**session.accounts, **numbers})
        details[CODE] = access.ways_back.create_code(household.id)
    return replace_session(access, session, household, details, device)


def replace_session(
    access: WebAccess, session: Session, household: Household, details: Mapping[str, str], device: str
) -> tuple[Session, str]:
    """Return a new session of the household, and the text for its cookie; the previous session ends."""
    key, text = access.keys.create(KeyKind.HOUSEHOLD_SESSION, household.id, device=device, details=details)
    if session.key is not None:
        access.keys.end(session.key.id)
    return Session(key, household), text


class LocalSession:
    """The one session shared by all browsers on this computer.

    ``is_open``: whether these browsers get in without signing in; False in a container and behind a proxy.
    """

    def __init__(self, access: WebAccess, *, is_open: bool) -> None:
        self.is_open = is_open
        self._access, self._text, self._lock = access, "", threading.Lock()
        if is_open:
            self.load()

    def load(self) -> Session:
        """Return the session; a new session if it has ended, because this computer is never locked out."""
        with self._lock:
            session = load_session(self._access, self._text)
            if session.key is None:
                household = self._access.home.ensure_household()
                key, self._text = self._access.keys.create(KeyKind.HOUSEHOLD_SESSION, household.id, device=DEVICE)
                session = Session(key, household)
            return session


def names_proxy(public_url: str) -> bool:
    """Return whether the pages have an address that only a proxy serves: https, or a public host."""
    public = urlsplit(public_url)
    return public.scheme == "https" or is_public_host(public.hostname or "")


def is_local(request: Request) -> bool:
    """Return whether sender and requested host are this computer, and no header shows that a proxy sent the request."""
    peer = request.client.host if request.client else ""
    if not is_loopback_host(peer) or not is_loopback_host(request.url.hostname or ""):
        return False
    return not any(name in _FORWARDED or name.startswith(_FORWARDED_PREFIX) for name in request.headers)


def _part(name: str) -> Any:
    find = attrgetter(name)

    def find_part(request: Request) -> Any:
        return find(request.app.state)

    return Depends(find_part)


StoresDep = Annotated[Stores, _part("stores")]
SettingsDep = Annotated[Settings, _part("stores.settings")]
RegistryDep = Annotated[Registry, _part("stores.registry")]
SyncDep = Annotated[Sync, _part("sync")]
AccessDep = Annotated[WebAccess, _part("access")]


def settings_of(request: Request) -> Settings:
    stores: Stores = request.app.state.stores
    return stores.settings


def note_visit(request: Request, who: str, record: Callable[[], object]) -> None:
    """Note a visit, which is recorded once the request is answered (``asgi.RequestGuard``)."""
    request.state.visits = {**getattr(request.state, "visits", {}), who: record}


def get_session(request: Request) -> Session:
    """Return the session of the browser, loaded once per request."""
    session = getattr(request.state, "session", None)
    if session is None:
        access = request.app.state.access
        session = load_session(access, read_cookie(request, SESSION_COOKIE))
        if settings_of(request).is_home:
            session = _session_of_home(request, access, session)
        request.state.session = session
        note_household(request, session)
        if session.key is not None:
            note_visit(request, session.key.id, partial(access.keys.record_visit, session.key))
            # Notices, erasures and lists of sessions read the stored accounts of the home's household, so a visit
            # brings them up to date.
            if settings_of(request).is_home:
                note_visit(request, "home", access.home.ensure_household)
    return session


class Visit:
    """A browser's request for a page, with the parts of this process, for pages to pass on to their helpers.

    A helper that needs only one part, such as the registry, takes that part instead.
    """

    def __init__(self, request: Request) -> None:
        state, self.request = request.app.state, request
        self.stores: Stores = state.stores
        self.settings: Settings = self.stores.settings
        self.registry: Registry = self.stores.registry
        self.sync: Sync = state.sync
        self.consent: Consent = state.consent
        self.access: WebAccess = state.access

    @property
    def session(self) -> Session:
        return get_session(self.request)

    @property
    def device(self) -> str:
        return name_device(self.request.headers.get("User-Agent", ""))

    @property
    def address(self) -> str:
        return client_address(self.request)

    def count_call(self, rate: Rate, subject: str) -> int:
        """Count a call. Return 0 if the call is within the rate, else the seconds until the next one is allowed."""
        return RateLimiter(self.stores.redis).count_call(rate, subject)


def _session_of_home(request: Request, access: WebAccess, session: Session) -> Session:
    """Return a session that shows every account of the home; without a key, it shows none.

    A browser on the home's own computer needs no cookie: it gets the local session, if that is open.
    """
    local: LocalSession = request.app.state.local_session
    if session.key is None and local.is_open and is_local(request):
        session = local.load()
    return session if session.key is None else replace(session, household=access.home.find_household())


def _begins_with_day(advice: str) -> BeforeValidator:
    """Return a check that refuses other texts with ``advice``; pydantic would take a number for seconds since 1970."""

    def check(value: object) -> object:
        if _DAY.match(str(value)) is None:
            raise ValueError(advice)
        return value

    return BeforeValidator(check)


def _to_century(moment: datetime) -> datetime:
    """Return the moment; the nearest one of this century for another, which the database may not be able to hold."""
    return min(max(moment, datetime(2000, 1, 1, tzinfo=UTC)), datetime(2100, 1, 1, tzinfo=UTC))


Day = Annotated[date, _begins_with_day("write a day like 2024-07-25")]
Moment = Annotated[
    AwareDatetime, _begins_with_day("write a time like 2024-07-25T06:00:00Z"), AfterValidator(_to_century)
]
Csrf = Annotated[str, Form()]  # A form's hidden field with the CSRF token.
LastId = Annotated[str, Query(max_length=32, pattern=r"^[a-z0-9]*$", description="The last id of the page before.")]
SessionDep = Annotated[Session, Depends(get_session)]
VisitDep = Annotated[Visit, Depends(Visit)]


def note_household(request: Request, session: Session) -> None:
    """Note for the audit trail that a household makes this request."""
    if session.key is not None:
        note_actor(request, ActorKind.HOUSEHOLD, session.key.id)


def set_cookie(request: Request, response: Response, name: str, value: str, max_age_s: int) -> None:
    """Set a cookie that scripts can't read, and that browsers send from other sites only when a person follows a link.

    If browsers use https, the cookie requires https, and its name has the prefix ``__Host-``, so that no other host and
    no unencrypted connection can plant one.
    """
    is_https = _has_https(request)
    name = cookie_name(settings_of(request), name)
    response.set_cookie(name, value, max_age=max_age_s, secure=is_https, httponly=True, samesite="lax")


def delete_cookie(request: Request, response: Response, name: str) -> None:
    name = cookie_name(settings_of(request), name)
    response.delete_cookie(name, secure=_has_https(request), httponly=True, samesite="lax")


def read_cookie(request: Request, name: str) -> str | None:
    return request.cookies.get(cookie_name(settings_of(request), name))


def cookie_name(settings: Settings, name: str) -> str:
    """Return the name under which browsers know one of our cookies."""
    return f"__Host-{name}" if settings.public_url.startswith("https://") else name


def _has_https(request: Request) -> bool:
    return settings_of(request).public_url.startswith("https://")


def show_accounts(
    visit: Visit, response: Response, accounts: Iterable[Account | ConnectedAccount], *, joins: bool
) -> str:
    """Let the browser see these accounts from now on, and return the id of its new session.

    ``joins``: True if the new session also shows the accounts of the previous one, False if it shows only these
    accounts. The previous session ends. Without https, the new session always gets a new household, because somebody
    may have planted the cookie.
    """
    request, access, session = visit.request, visit.access, visit.session
    joined = session if joins else Session()
    opened, text = open_session(access, joined, accounts, visit.device, joins=_has_https(request))
    if session.key is not None and not joins:
        access.keys.end(session.key.id)
    set_session_cookie(request, response, SESSION_COOKIE, text)
    note_household(request, opened)
    note_event(request, AuditAction.SESSION_OPEN)
    return opened.sid


def set_session_cookie(request: Request, response: Response, name: str, text: str) -> None:
    """Give a browser the cookie of a household's or operator's session; the cookie lives as long as the session can."""
    longest = KEY_LIVES[KeyKind.OPERATOR_SESSION if name == OPERATOR_COOKIE else KeyKind.HOUSEHOLD_SESSION].longest
    assert longest is not None  # noqa: S101 - each session has an end
    set_cookie(request, response, name, text, int(longest.total_seconds()))


def new_form(request: Request) -> tuple[str, str]:
    """Return the cookie's value and the hidden field's value of a form for a browser without a session.

    The page sets the cookie (``FORM_COOKIE``), and the form's target calls ``check_own_form``.
    """
    value = read_cookie(request, FORM_COOKIE) or secrets.token_urlsafe(18)
    return value, request.app.state.access.signer.csrf_token(value)


def is_session_form(access: WebAccess, session: Session, csrf: str | None) -> bool:
    """Return whether a form, or a script's header, comes from a page of this session."""
    return session.key is not None and access.signer.is_valid_csrf_token(session.sid, csrf)


def load_accounts(registry: Registry, session: Session) -> list[Account]:
    """Return the accounts that the session shows, in one query; accounts that no longer exist are left out."""
    return session.own(registry.accounts.get_many(list(session.accounts)))


class EarlyAnswer(Exception):
    """The error by which a check sends its own answer instead of the route's."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class FormRefused(Exception):
    """The error for a form that is not from a page of this session; ``back`` is the page that has the form."""

    def __init__(self, back: str) -> None:
        super().__init__(back)
        self.back = back


def check_own_form(request: Request, csrf: str, back: str) -> None:
    """Check that a form sent without a session comes from a page that we sent to this browser. Raises FormRefused."""
    value = read_cookie(request, FORM_COOKIE)
    if value is None or not request.app.state.access.signer.is_valid_csrf_token(value, csrf):
        raise FormRefused(back)


def browser_form(back: str) -> Any:
    """Return the dependency of a route that accepts only forms that pass ``check_own_form``."""

    def check(request: Request, csrf: Csrf = "") -> None:
        check_own_form(request, csrf, back)

    return Depends(check)


def check_session_form(access: WebAccess, session: Session, csrf: str, back: str) -> None:
    """Check that a form is from a page of this session. Raises FormRefused."""
    if not is_session_form(access, session, csrf):
        raise FormRefused(back)


def session_form(back: str) -> Any:
    """Return the dependency of a route that accepts only forms that pass ``check_session_form``."""

    def check(access: AccessDep, session: SessionDep, csrf: Csrf = "") -> None:
        check_session_form(access, session, csrf, back)

    return Depends(check)


def require_household(session: SessionDep) -> Household:
    """Return the household of the browser's session; send a browser without one to the sign-in page."""
    if session.household is None:
        raise EarlyAnswer(RedirectResponse("/sign-in", 303))
    return session.household


HouseholdDep = Annotated[Household, Depends(require_household)]


def name_service(stores: Stores, tenant: str, words: Words) -> str:
    """Return the title of a tenant's service; without a title, our host name, or "this service" if we have none."""
    if title := stores.registry.tenants.title_of(tenant):
        return title
    host = urlsplit(stores.settings.public_url).hostname or ""
    is_name = "." in host and not host.replace(".", "").isdigit()
    return host if is_name else words("account.reader.this_service")


def title_of_meter(registry: Registry, account: Account, words: Words, directions: Collection[Direction] = ()) -> str:
    """Return the title of a meter's pages: its name; without one, what it counts.

    ``directions``: drawn, fed in, as far as readings are stored.
    """
    if name := load_name(registry, account.id):
        return name
    if daily_of(supplier=account.supplier).description.quantity is Quantity.GAS:
        return words("account.title.gas")
    if len(directions) > 1:
        return words("account.title.both")
    return words("account.title.production" if Direction.PRODUCTION in directions else "account.title")


def needs_invitation(sync: Sync, supplier: str) -> bool:
    """Return whether meters of this supplier can be connected only by invitation."""
    clients = sync.suppliers.get(supplier)
    return clients is None or not clients.account_tokens


def gas_suffix(sync: Sync) -> str:
    """Return the suffix of text keys for the variant that also mentions gas; empty if gas is not set up."""
    return ".both" if GRDF.name in sync.suppliers else ""


def has_shares(sync: Sync, supplier: str) -> bool:
    """Return whether holders consent by a share, which they must delete at the supplier before they consent again."""
    clients = sync.suppliers.get(supplier)
    return clients is not None and clients.endpoints.preset.consent_style == "autorisation"


def may_renew(visit: Visit, account: Account) -> bool:
    """Return whether the household may begin a new consent itself, without an invitation by somebody else.

    It may where the supplier says which meter the new consent is for, and since when (proofs P2 and P3).
    """
    if visit.settings.is_home or account.files_only or account.usage_point_id is None:
        return False
    return account.state is not AccountState.CLOSED and has_shares(visit.sync, account.supplier)


def publish_backfills(stores: Stores, account_ids: Iterable[str]) -> None:
    """Publish the accounts' backfill tasks; to be called after the commit.

    A lost message does no harm, because the reconciler finds the accounts.
    """
    for account_id in account_ids:
        try:
            enqueue_backfill(account_id, broker_url=stores.broker_url)
        except StoreUnavailable as error:
            log.warning("backfill not published", extra=fields(account_id=account_id, reason=str(error)))


def switch_series(stores: Stores, account_id: str, switches: Mapping[Series, SeriesSwitch]) -> None:
    """Set these switches of an account, and publish its backfill if a series is now collected that was not before.

    Raises ValueError, before anything is changed, for a series that the supplier does not offer.
    """
    if build_series_chooser(stores).choose(account_id, switches):
        publish_backfills(stores, [account_id])


def publish_revocation(stores: Stores, sync: Sync) -> None:
    """Publish the tasks that revoke the tokens and withdraw the access rights that no account uses any more.

    A lost message does no harm, because beat sends it again.
    """
    try:
        enqueue_revocation(sync.suppliers, broker_url=stores.broker_url)
    except StoreUnavailable as error:
        log.warning("revocation not published", extra=fields(reason=str(error)))


def load_own_account(account_id: str, registry: RegistryDep, session: SessionDep) -> Account:
    """Return the account named in the address, if the browser's session may see the account.

    Raises UnknownAccount, with the same text for an account that doesn't exist and for one of another household.
    """
    if account_id in session.accounts:
        account = registry.accounts.get_existing(account_id)
        if session.shows(account):
            return account
    raise UnknownAccount("no such account in this browser's session")


OwnAccount = Annotated[Account, Depends(load_own_account)]


def own_account(may: Callable[[Account], bool], page: str = "") -> Callable[..., Account]:
    """Return the dependency of a route for accounts that satisfy ``may``; others are redirected to their ``page``."""

    def check(account: OwnAccount) -> Account:
        if not may(account):
            raise EarlyAnswer(RedirectResponse(f"/accounts/{account.id}{page}", 303))
        return account

    return check


def account_form(page: str = "") -> Any:
    """Return the dependency of a route that accepts only forms from one page of an account.

    The account is the one in the request's path; ``page``: the rest of the page's path.
    """

    def check(access: AccessDep, session: SessionDep, account: OwnAccount, csrf: Csrf = "") -> None:
        check_session_form(access, session, csrf, f"/accounts/{account.id}{page}")

    return Depends(check)
