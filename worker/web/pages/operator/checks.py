"""The check of an operator's password and code, with limits that lock out nobody.

On a loopback address the password is enough; elsewhere the code of the second factor is always asked. A wrong try is
counted under its address and name after it was looked at, so the right password and code are heard however many wrong
ones came before. What a wrong try costs us is bounded: elsewhere a wrong code is refused before the password is hashed;
on loopback, once the limit is reached, one try in ten seconds is looked at.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from fastapi import Request, Response

from worker.domain.clock import real_clock
from worker.domain.sessions import Operator, plain_name
from worker.logs import fields
from worker.runtime.sync_parts import Runtime
from worker.stores.redis.locks import Rate, RateLimiter
from worker.web.addresses import client_address, is_on_this_machine
from worker.web.audit import note_refusal
from worker.web.pages.operator.sessions import OperatorSession

log = logging.getLogger("releve.web")
_WRONG_TRIES: Final = Rate("operator-login", calls=5, window_s=300)
_LATE_TRIES: Final = Rate("operator-login-late", calls=1, window_s=10)
_CONFIRMED: Final = "confirmed_at"
_FRESH: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class SignInRefusal:
    """Why somebody is not let in: the key of a text, and its answer's status. ``wait_s``: after the limit."""

    text: str
    status: int = 403
    wait_s: int = 0

    @property
    def values(self) -> dict[str, Any]:
        """What the page shows of it."""
        return {"fault": self.text, "wait_s": self.wait_s}

    def mark(self, response: Response) -> Response:
        """Return the answer with the header that says when to come again."""
        if self.wait_s:
            response.headers["Retry-After"] = str(self.wait_s)
        return response


def needs_code(request: Request, runtime: Runtime) -> bool:
    """Return whether the code of the second factor is asked for."""
    return not is_on_this_machine(request, runtime.settings.public_url)


def check_operator(request: Request, runtime: Runtime, name: str, password: str, code: str) -> Operator | SignInRefusal:
    """Return the operator whose name, password and code these are, or why nobody is let in."""
    asks_code = needs_code(request, runtime)
    if not asks_code and (wait_s := _wait_for_late_try(request, runtime, name)):
        note_refusal(request, "operator.slow")
        return SignInRefusal("operator.slow", 429, wait_s)
    operator = runtime.web_access.operators.check(name, password, code if asks_code else None)
    return operator or refuse_try(request, runtime, name)


def _wait_for_late_try(request: Request, runtime: Runtime, name: str) -> int:
    """Return the seconds until the next try beyond the limit is looked at; 0 where this one is."""
    limiter, subject = RateLimiter(runtime.redis), _subject(request, name)
    return limiter.closed_for_s(_WRONG_TRIES, subject) and limiter.count_call(_LATE_TRIES, subject)


def refuse_try(request: Request, runtime: Runtime, name: str) -> SignInRefusal:
    """Count a wrong try, and return its refusal."""
    log.warning("operator login refused", extra=fields(address=client_address(request)))
    wait_s = RateLimiter(runtime.redis).count_call(_WRONG_TRIES, _subject(request, name))
    note_refusal(request, "operator.wrong")
    wrong = "operator.wrong.code" if needs_code(request, runtime) else "operator.wrong"
    return SignInRefusal("operator.slow", 429, wait_s) if wait_s else SignInRefusal(wrong)


def check_again(
    request: Request, runtime: Runtime, session: OperatorSession, password: str, code: str
) -> SignInRefusal | None:
    """Ask an operator who has signed in for password and code once more; return why they are refused."""
    checked = check_operator(request, runtime, session.operator.name, password, code)
    return checked if isinstance(checked, SignInRefusal) else None


def is_fresh(session: OperatorSession) -> bool:
    """Return whether the operator has given password and code, or a link, within the last hour."""
    confirmed = session.key.details.get(_CONFIRMED)
    at = session.key.created_at.timestamp() if confirmed is None else float(confirmed)
    return real_clock().timestamp() < at + _FRESH.total_seconds()


def check_fresh(
    request: Request, runtime: Runtime, session: OperatorSession, password: str, code: str
) -> SignInRefusal | None:
    """Ask for password and code once an hour; return why they are refused."""
    if is_fresh(session):
        return None
    refusal = check_again(request, runtime, session, password, code)
    if refusal is None:
        confirmed = {**session.key.details, _CONFIRMED: str(real_clock().timestamp())}
        runtime.web_access.keys.set_details(session.key, confirmed)
    return refusal


def _subject(request: Request, name: str) -> str:
    """Return what wrong tries are counted under: the address, and the name as one of 256 groups.

    Groups bound what one address can make Redis keep, and the count tells nobody which names there are.
    """
    group = hashlib.sha256(plain_name(name).encode("utf-8", "replace")).hexdigest()[:2]
    return f"{client_address(request)}:{group}"
