"""The way back from the supplier's page: the callback, the page with its outcome, and the names of a browser.

Anybody can type the address of a callback, so a callback becomes only a connection request
(``domain.connection_request``), which changes nothing without a proof. A callback's state works once, and only in the
browser that began the consent. The first answer gives the browser a new name, and binds the request to this name,
before there is an outcome. While the request waits, the page reloads itself, and only the browser with this name gets
the outcome. The name opens only one session. The session is opened when the callback is loaded again, or by the button
of a page that shows the outcome of a reading or the state of a right. Pages never ask the supplier; a task does.

The names of a browser are random texts in a cookie, a new one for each handshake. The outcome of a handshake is bound
to a name that the handshake's own answer sets, never to a name that the browser had before. So a person who has planted
a name in somebody's browser sees nothing of what that browser does afterwards. A browser may continue whatever is bound
to any of its names, so its tabs are independent.

    releve_connect    67474f2eZr0….67474ee1k3q…    the names, the newest first; each begins with the second in which it
                                                   was made, as eight hexadecimal digits
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, Response
from fastapi.responses import RedirectResponse

from worker.accounts.opening import HELD_HISTORY
from worker.app import enqueue_request
from worker.clients.endpoints import LONGEST_STATE, Callback
from worker.clients.enedis import ENEDIS
from worker.domain.account import Account, AccountState
from worker.domain.audit_entry import AuditAction
from worker.domain.clock import real_clock
from worker.domain.connection_request import (
    LONGEST_QUERY,
    MOST_METERS,
    OTHER_METER,
    ConnectedAccount,
    ConnectionRequest,
    RequestState,
)
from worker.domain.consents import REQUEST_LIFE
from worker.domain.invitation import Invitation
from worker.errors import OperatorFault, StoreUnavailable
from worker.logs import fields
from worker.runtime.stores import Stores
from worker.stores.redis.locks import Rate, RateLimiter
from worker.stores.redis.pending_consents import ConsentFlow, ConsentFlows
from worker.stores.registry import Registry
from worker.web import dependencies
from worker.web.rendering import SIGN_IN, render, render_message, render_with_form, words_of
from worker.web.request_audit import note_event

router = APIRouter()
log = logging.getLogger("releve.web")
PORTAL_SUFFIX: Final = "_parent"  # Enedis' 2026 portal sometimes appends this to the redirect address.
BROWSER_COOKIE: Final = "releve_connect"
# Beyond this number a browser's oldest name is dropped. One invitation adds fewer names, so the name with which the
# browser opened the invitation is still there when the invitation is used.
MOST_NAMES: Final = 30
_NAME: Final = re.compile(r"([0-9a-f]{8})[A-Za-z0-9_-]{32}", re.ASCII)
_STATE: Final = re.compile(rf"[A-Za-z0-9_-]{{20,{LONGEST_STATE}}}", re.ASCII)
_SHORTEST_WAIT_S: Final = 2
_PUBLISHED: Final = Rate("request-published", calls=1, window_s=_SHORTEST_WAIT_S)  # Even if a page is reloaded sooner.
_LONGEST_WAIT_S: Final = 60
_START_AGAIN: Final = (f"/connect/{ENEDIS.name}", "connect.again")
_HOME: Final = ("/", "connect.home")
_INVITATION: Final = ("/invitation", "connect.invitation")
_RETRY: Final = ("/invitation/again", "message.again")
_CHOOSE_AGAIN: Final = ("/invitation/again", "connect.other_meter.go")
_READING: Final = ("/connect/reading", "connect.reading")
_RIGHT_AGAIN: Final = ("/connect/right/again", "connect.right.again")
_PAGES: Final = {  # Name of a page -> its status and the next action.
    name: (status, action)
    for status, action, names in (
        (202, _HOME, ("not_there", "working", "waiting_turn", "unavailable", "held", "held_reading", "held_history")),
        (202, _READING, ("held_history_reading",)),
        (202, _HOME, ("right_held", "right_pending", "right_proof", "right_to_check")),
        (403, _HOME, ("turned_away", "history_refused", "ended_elsewhere")),
        (404, _HOME, ("unknown_supplier",)),
        (410, _HOME, ("invitation_over", "right_withdrawn", "right_contract_ended")),
        (429, _HOME, ("too_many", "right_too_many")),
        (502, _HOME, ("unusable", "right_scope")),
        (503, _HOME, ("no_consent_page",)),
        (400, _START_AGAIN, ("too_long", "too_many_meters", "no_usage_point", "refused")),
        (400, _START_AGAIN, ("unknown_state", "code_refused")),
        (403, _START_AGAIN, ("access_denied", "foreign_state")),
        (410, _START_AGAIN, ("erased_since",)),
        (502, _START_AGAIN, ("server_error",)),
        (403, _INVITATION, ("unproven",)),
        (404, _INVITATION, ("no_reading", "no_right")),
        (409, _INVITATION, ("right_exists",)),
        (403, _CHOOSE_AGAIN, (OTHER_METER, "unknown_meter", "listed_meter")),
        (403, _READING, ("reading_wrong",)),
        (403, _RIGHT_AGAIN, ("right_refused", "right_revoked")),
        (404, _RIGHT_AGAIN, ("right_unknown_meter",)),
        (409, _RIGHT_AGAIN, ("right_postcode", "right_name", "right_email")),
        (410, _RIGHT_AGAIN, ("right_obsolete",)),
        (403, SIGN_IN, ("right_elsewhere",)),
    )
    for name in names
}
_PAGES_WITHOUT_ERROR: Final = ("code_refused", "unusable")  # OAuth has no error codes for these pages.
_FAILURES: Final = ("access_denied", "server_error", "no_usage_point")  # Other failures share the page ``refused``.


@dataclass(frozen=True, slots=True)
class BrowserNames:
    """The names of one browser, newest first; empty if the browser has begun no consent lately."""

    texts: tuple[str, ...] = field(default=(), repr=False)

    @property
    def hashes(self) -> tuple[str, ...]:
        """The hashes of the names, newest first. Hashes are stored because nobody can make the cookie from them."""
        return tuple(hashlib.sha256(text.encode()).hexdigest() for text in self.texts)

    @property
    def newest(self) -> str:
        return self.hashes[0]

    def with_new(self) -> BrowserNames:
        """Return the names with a new one in front; beyond thirty names, the oldest is dropped."""
        name = f"{int(real_clock().timestamp()):08x}{secrets.token_urlsafe(24)}"
        return BrowserNames((name, *self.texts)[:MOST_NAMES])


class ConsentVisit(dependencies.Visit):
    """A visit to the consent pages, which recognize a browser by its names: random texts in one of its cookies."""

    @cached_property
    def names(self) -> BrowserNames:
        """The names in the browser's cookie, without names that are older than any request can be.

        Names need no signature: nothing is bound to a name that we have not made. The time in a name is part of what is
        hashed, so nobody can extend the name's life.
        """
        texts = (dependencies.read_cookie(self.request, BROWSER_COOKIE) or "").split(".", MOST_NAMES)[:MOST_NAMES]
        return BrowserNames(tuple(text for text in texts if _is_current(text)))

    @cached_property
    def renamed(self) -> BrowserNames:
        """The browser's names with a new one in front; ``rename`` sets these names in the browser's cookie."""
        return self.names.with_new()

    @property
    def is_form(self) -> bool:
        """Whether the request sends a form; otherwise it only loads a page."""
        return self.request.method == "POST"

    def rename(self, response: Response) -> Response:
        value, life_s = ".".join(self.renamed.texts), int(REQUEST_LIFE.total_seconds())
        dependencies.set_cookie(self.request, response, BROWSER_COOKIE, value, life_s)
        return response

    def find_request(self) -> ConnectionRequest | None:
        return self.consent.requests.of_browser(self.names.hashes)

    def find_invitation(self, own: ConnectionRequest | None) -> Invitation | None:
        """Return the invitation of a request, if it can still be used."""
        invited = self.consent.connector.outcomes.find_invited(own) if own else None
        return invited.invitation if invited and invited.invitation.used_at is None else None

    def page(
        self,
        name: str,
        wait_s: int = 0,
        *,
        own: ConnectionRequest | None = None,
        supplier: str = ENEDIS.name,
        **words: str,
    ) -> Response:
        """Return the page of an outcome; with ``wait_s`` the page reloads itself after so many seconds.

        ``own``: the browser's request, if it has failed. ``supplier``: the supplier whose consent the page is about.
        ``words``: more facts for the page's texts.
        """
        status, action = _PAGES[name]
        if action is _START_AGAIN and self.find_invitation(own):
            action = _RETRY
        elif action is _START_AGAIN and dependencies.needs_invitation(self.sync, supplier):
            action = _INVITATION  # Without an invitation, a new start would lead to no account.
        facts = {"supplier": words_of(self.request)(f"supplier.{supplier}"), "digits": "…", **words}
        return render_message(self.request, f"connect.{name}", status, action, facts, reload_s=wait_s)


ConsentVisitDep = Annotated[ConsentVisit, Depends(ConsentVisit)]


@router.get("/callback/{supplier}")
def receive_callback(supplier: str, visit: ConsentVisitDep) -> Response:
    """Receive a person who comes back from the supplier's page."""
    name = supplier.removesuffix(PORTAL_SUFFIX)
    return answer_callback(visit, name) if name in visit.sync.suppliers else visit.page("unknown_supplier")


@router.post("/connect/new-holder", name=AuditAction.CONSENT_NEW_HOLDER, dependencies=[dependencies.browser_form("/")])
def confirm_new_holder(visit: ConsentVisitDep, connection: Annotated[str, Form(max_length=64)] = "") -> Response:
    """Connect a proven request, and close the previous holder's account of the meter, as the person has chosen."""
    own = visit.consent.connector.choose_new_holder(connection, visit.names.hashes)
    if own is None:
        return visit.page("unknown_state")
    dependencies.publish_backfills(visit.stores, [account.id for account in own.accounts])
    return answer_request(visit, own)


def answer_callback(visit: ConsentVisit, supplier: str) -> Response:
    """Answer a callback of one of our suppliers, at whichever of our addresses it arrived."""
    if len(visit.request.scope["query_string"]) > LONGEST_QUERY:
        return visit.page("too_long")
    callback = visit.consent.supplier_of(supplier).read_callback(visit.request.query_params.multi_items())
    if len(callback.usage_points) > MOST_METERS:
        return visit.page("too_many_meters")
    if not _STATE.fullmatch(callback.state):
        return _stateless_page(visit, callback, supplier)
    flows = ConsentFlows(visit.stores.redis)
    flow = flows.read(callback.state)
    if flow is None or flow.supplier != supplier:
        return _answer_repeated(visit, callback, supplier)
    if flow.browser not in visit.names.hashes:
        # The flow isn't ended: it stays usable for its own browser.
        return visit.page("foreign_state")
    own = _receive(visit, callback, flow)
    if not visit.consent.requests.create(own):  # Another load of the same callback was faster.
        return _answer_repeated(visit, callback, supplier)
    flows.end(callback.state)
    if flow.invitation is not None and callback.failure == "access_denied":
        visit.registry.campaigns.note_refused(invitation_id=flow.invitation)
    elif flow.invitation is not None and not callback.failure:
        visit.registry.campaigns.note_asked(flow.invitation)
    if own.asks_supplier:
        _publish_once(visit.stores, own)
    # While a request is ASKING, this answer only sets the browser's new name and shows the waiting page. The outcome is
    # shown on a later load, which proves that the browser has the name. If this answer carried the outcome and got
    # lost, no browser could ever open it.
    return visit.rename(_waiting_page(visit, own) if own.state is RequestState.ASKING else answer_request(visit, own))


def _receive(visit: ConsentVisit, callback: Callback, flow: ConsentFlow) -> ConnectionRequest:
    """Return the request that a callback makes, bound to the browser's new name."""
    return visit.consent.connector.receive(
        callback,
        ConnectionRequest(
            id=_request_id(callback.state),
            supplier=flow.supplier,
            browser=visit.renamed.newest,
            known_as=visit.names.hashes,
            begun_on=date.fromisoformat(flow.begun_on),
            created_at=datetime.now(UTC),
            begun_at=datetime.fromisoformat(flow.begun_at) if flow.begun_at else None,
            address=visit.address,
            invitation_id=flow.invitation,
            tenant=flow.tenant,
            session=visit.session.accounts,
            caller=flow.caller,
        ),
    )


def _answer_repeated(visit: ConsentVisit, callback: Callback, supplier: str) -> Response:
    """Answer a callback whose state was used before; the browser to which the request belongs gets the outcome.

    A browser that has only an earlier name doesn't get the outcome, because somebody may have planted this name. While
    the request waits, such a browser gets a page that reloads itself: if the browser has loaded the callback twice at
    once, the answer to its other load gives it the new name.
    """
    names = visit.names.hashes
    own = visit.consent.requests.get(_request_id(callback.state))
    if own is not None and (own.browser in names or _is_shown(own, visit.session)):
        return answer_request(visit, _take_on(visit, own))
    if own is None or not set(own.known_as) & set(names):
        return _stateless_page(visit, callback, supplier)
    if own.state is not RequestState.ASKING:
        return visit.page("ended_elsewhere")
    return visit.page("working", _SHORTEST_WAIT_S, supplier=supplier)


def _is_shown(own: ConnectionRequest, session: dependencies.Session) -> bool:
    """Return whether the browser's session shows the accounts that the request has connected."""
    return own.state is RequestState.CONNECTED and all(session.shows(account) for account in own.accounts)


def _stateless_page(visit: ConsentVisit, callback: Callback, supplier: str) -> Response:
    """Return the page of a callback whose state belongs to no request of this browser."""
    page = _failure_page(callback.failure) if callback.failure else "unknown_state"
    return visit.page(page, supplier=supplier)


def answer_request(visit: ConsentVisit, own: ConnectionRequest, *, opens: bool = True) -> Response:
    """Answer with the outcome of the browser's own request. ``opens``: whether the answer may open a session."""
    match own.state:
        case RequestState.ASKING:
            return _waiting_page(visit, own)
        case RequestState.HANDED_OVER:
            return RedirectResponse(own.returns_to, 302)
        case RequestState.CONNECTED:
            return lead_to_accounts(visit, own.accounts, own.browser, opens=opens)
        case RequestState.CHOICE:
            supplier = words_of(visit.request)(f"supplier.{own.supplier}")
            return render_with_form(visit.request, "choice.html", request_id=own.id, supplier=supplier)
        case RequestState.UNPROVEN:
            return _unproven_page(visit, own)
        case RequestState.REFUSED if own.caller is not None and own.page != "invitation_over":
            # The proxy's client must learn that the consent failed, with an OAuth error code if there is one.
            error = "server_error" if own.page in _PAGES_WITHOUT_ERROR else own.page
            return RedirectResponse(own.caller.address(error=error, error_description="the consent was not given"), 302)
        case RequestState.DECLARED:
            return RedirectResponse(dependencies.RIGHT_STATE, 303)
        case RequestState.HELD | RequestState.REFUSED:
            page = own.page if own.page in _PAGES else _failure_page(own.page)
            if page == HELD_HISTORY and visit.consent.connector.find_unproven([own.browser]) is not None:
                page = "held_history_reading"
            return visit.page(page, own=own, supplier=own.supplier)


def _take_on(visit: ConsentVisit, own: ConnectionRequest) -> ConnectionRequest:
    """Continue the request if its next step is due: conclude it, or publish the task if the supplier must be asked."""
    if not own.is_due(datetime.now(UTC)):
        return own
    if own.asks_supplier:
        _publish_once(visit.stores, own)
        return own
    concluded = visit.consent.connector.conclude(own.id) or own
    dependencies.publish_backfills(visit.stores, [account.id for account in concluded.accounts])
    return concluded


def _publish_once(stores: Stores, own: ConnectionRequest) -> None:
    """Publish the task that asks the supplier, unless it was published for this request in the last two seconds."""
    if not RateLimiter(stores.redis).count_call(_PUBLISHED, own.id):
        publish_request(stores, own)


def publish_request(stores: Stores, own: ConnectionRequest) -> None:
    """Publish the task that continues a request.

    If the message is lost or the browser is closed, a periodic task of beat continues the request.
    """
    try:
        enqueue_request(own.id, vouched=own.vouched, broker_url=stores.broker_url)
    except StoreUnavailable as error:
        log.warning("connection request not published", extra=fields(request=own.id, reason=str(error)))


def _unproven_page(visit: ConsentVisit, own: ConnectionRequest) -> Response:
    """Return the page of an unproven request, the same for every meter.

    The page links to the form for a meter reading if a reading can prove the request.
    """
    if own.page == "reading_wrong":
        return visit.page(own.page)
    connector = visit.consent.connector
    invited = connector.outcomes.find_invited(own) if own.page == OTHER_METER else None
    if invited is not None and invited.invitation.is_listed:
        return visit.page("listed_meter", supplier=own.supplier)  # The mail may be another household's.
    if invited is not None and invited.usage_point_id is not None:
        chosen = ", ".join(f"…{number[-4:]}" for number in own.usage_points)
        page, digits = OTHER_METER if chosen else "unknown_meter", f"…{invited.usage_point_id[-4:]}"
        return visit.page(page, supplier=own.supplier, chosen=chosen, digits=digits)
    if connector.find_unproven([own.browser]) is not None:
        return render(visit.request, "unproven.html", 403)
    return visit.page("unproven")


def lead_to_accounts(
    visit: ConsentVisit, accounts: Sequence[Account | ConnectedAccount], name: str, *, opens: bool
) -> Response:
    """Redirect to the accounts. If ``opens`` is False and ``name`` has opened no session, show a button instead.

    The button opens a session, by a form to the page's own address. ``name``, which opens only one session, is the hash
    of a browser's name or the id of a right.
    """
    if opens:
        return open_accounts(visit, accounts, name)
    if not visit.consent.requests.find_session(name):
        return render_with_form(visit.request, "open.html", to=visit.request.url.path)
    is_shown = all(visit.session.shows(account) for account in accounts)
    return RedirectResponse(f"/accounts/{accounts[0].id}", 303) if is_shown else visit.page("ended_elsewhere")


def open_accounts(visit: ConsentVisit, accounts: Sequence[Account | ConnectedAccount], name: str) -> Response:
    """Redirect to the accounts, in a session that shows all of them; a new session is opened if necessary.

    ``name``: the hash of a browser's name, or the id of an invitation or right. A name opens only one session, so a
    person who copies the name later gets none.

    If the session shows other meters, the person is asked whether the new accounts join them. The session may belong to
    another person, who left it open or made this person sign in to it. If a new account has taken over a meter from an
    account of the session, nobody is asked, and the session ends in this browser. Nobody is asked in a home's
    installation either, or about accounts that the household has had before.
    """
    session = visit.session
    if all(session.shows(account) for account in accounts):
        visit.consent.requests.note_session(name, session.sid)
        return RedirectResponse(f"/accounts/{accounts[0].id}", 303)
    joins = visit.settings.is_home or all(account.id in session.accounts for account in accounts)
    if joins or not (shown := _find_asked_about(visit.registry, session, accounts)):
        return _open(visit, accounts, name, joins=joins)
    content = json.dumps([name, [[account.id, account.session_number] for account in accounts]])
    offer = visit.access.sealer.seal(content, f"offer/{session.sid}")
    return render(visit.request, "join.html", shown=shown, offer=offer)


def _find_asked_about(
    registry: Registry, session: dependencies.Session, accounts: Sequence[Account | ConnectedAccount]
) -> list[Account]:
    """Return the session's accounts that the page names when it asks whether the new accounts join them.

    Empty if a new account has taken over the meter of an account of the session. A takeover stores one time for the end
    of the old account and the creation of the new one. So equal times show a takeover, even after a crash.
    """
    known = registry.accounts.get_many([*session.accounts, *(account.id for account in accounts)])
    made = [known[account.id].created_at for account in accounts if account.id in known]
    closed = [id_ for id_ in session.accounts if id_ in known and known[id_].state is AccountState.CLOSED]
    if any(registry.accounts.state_since(id_) in made for id_ in closed):
        return []
    return [account for account in session.own(known) if account.state is not AccountState.DELETED]


@router.post("/connect/join")
def join_meters(
    visit: ConsentVisitDep,
    offer: Annotated[str, Form(max_length=4000)] = "",
    choice: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    """Open the accounts that the browser was asked about: in its session's household, or in a new household.

    ``offer`` is encrypted for this session, so that no other page can send it.
    """
    try:
        name, accounts = json.loads(visit.access.sealer.unseal(offer, f"offer/{visit.session.sid}"))
    except OperatorFault:
        raise dependencies.FormRefused("/") from None
    return _open(visit, [ConnectedAccount(*account) for account in accounts], name, joins=choice == "join")


def _open(visit: ConsentVisit, accounts: Sequence[Account | ConnectedAccount], name: str, *, joins: bool) -> Response:
    requests, response = visit.consent.requests, RedirectResponse(f"/accounts/{accounts[0].id}", 303)
    if not requests.mark_opened(name):
        return visit.page("ended_elsewhere")
    try:
        session_id = dependencies.show_accounts(visit, response, accounts, joins=joins)
        for account in accounts:
            if visit.registry.consents.browser_of(account.id) is not None:  # A closed account has no consent.
                note_event(visit.request, AuditAction.CONSENT_CONNECT, account_id=account.id)
    except StoreUnavailable:
        requests.unmark_opened(name)
        raise
    requests.note_session(name, session_id)
    return response


def _waiting_page(visit: ConsentVisit, own: ConnectionRequest) -> Response:
    """Return a page that reloads itself shortly after the next try of the request."""
    if own.next_try_at is None or not own.page:
        return visit.page("working", _SHORTEST_WAIT_S, supplier=own.supplier)
    left_s = (own.next_try_at - datetime.now(UTC)).total_seconds() + _SHORTEST_WAIT_S
    wait_s = round(min(max(left_s, _SHORTEST_WAIT_S), _LONGEST_WAIT_S))
    return visit.page(own.page, wait_s, supplier=own.supplier, at=words_of(visit.request).clock(own.next_try_at))


def _failure_page(failure: str) -> str:
    return failure if failure in _FAILURES else "refused"


def _request_id(state: str) -> str:
    """Return the id of the request that a state leads to. The id may be logged, because it gives no access."""
    return hashlib.sha256(state.encode()).hexdigest()[:32]


def _is_current(text: str) -> bool:
    match = _NAME.fullmatch(text)
    return match is not None and real_clock() < datetime.fromtimestamp(int(match[1], 16), UTC) + REQUEST_LIFE
