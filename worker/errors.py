"""The error tree: its first level says what Relève does about an error, the second where it came from.

A task retries a ``TransientError``.  An ``AccountError`` suspends the account until its owner acts.  A ``DataError`` is
reported, and the window is not fetched again in this run.  Celery sends errors between processes, so that each can be
rebuilt from its message alone; no message holds a token, a meter number or a payload.  ``code`` is what the account
shows, with the vocabulary of cozy-konnector-libs.  ``tools.error_reference`` prints each docstring's first paragraph.
"""

from __future__ import annotations

from typing import ClassVar


class WorkerError(Exception):
    """Anything Relève foresees going wrong; its text says what to do."""

    code: ClassVar[str] = "UNKNOWN_ERROR"


class TransientError(WorkerError):
    """The same call may well work later; ``retry_after_s`` is the wait asked for, or None."""

    code: ClassVar[str] = "VENDOR_DOWN"

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(TransientError):
    """The quota is used up, by the supplier's word or by our own ledger."""


class IncidentOpen(RateLimited):
    """An incident is open, so nobody is asked; the window is due again when that is over."""


class SupplierUnavailable(TransientError):
    """The supplier did not answer, or answered with a fault of its own."""


class ConsentNotThere(SupplierUnavailable):
    """The supplier doesn't know a consent yet that was given a moment ago."""


class StoreUnavailable(TransientError):
    """CouchDB, the SQL database or Redis can't be reached: infrastructure, no account is to blame."""

    code: ClassVar[str] = ""


class NotDelivered(TransientError):
    """The receiver of our notices did not take one; it is sent again later."""

    code: ClassVar[str] = ""


class AccountError(WorkerError):
    """This account waits for its owner; automatic runs skip it."""

    code: ClassVar[str] = "USER_ACTION_NEEDED"


class ConsentRevoked(AccountError):
    """The consent ended or was withdrawn: the owner must consent again.

    After a data call this may be wrong: ``worker.accounts.refusals`` waits for a second refusal before it suspends the
    account.
    """

    code: ClassVar[str] = "USER_ACTION_NEEDED.OAUTH_OUTDATED"


class RefreshTokenDead(ConsentRevoked):
    """The refresh token or code is refused, or there is none: no doubt, nothing but a new consent helps."""


class RefreshAnswerLost(RefreshTokenDead):
    """The supplier took the refresh token, but its answer with the next one never reached us."""

    code: ClassVar[str] = "USER_ACTION_NEEDED.OAUTH_OUTDATED.REFRESH_LOST"


class HolderChanged(AccountError):
    """The person who consented no longer holds the contract of this meter."""

    code: ClassVar[str] = "USER_ACTION_NEEDED.ACCOUNT_REMOVED"


class UnknownUsagePoint(AccountError):
    """The supplier does not know this meter, or does not let us see it."""


class LoginFailed(AccountError):
    """The account's token was refused again right after it was renewed."""

    code: ClassVar[str] = "LOGIN_FAILED"


class UnknownAccount(AccountError):
    """No account of this id is in the registry."""

    code: ClassVar[str] = "CANNOT_FIND_ACCOUNT"


class DataError(WorkerError):
    """Keep it out and report it: asking again would give the same."""


class MalformedAnswer(DataError):
    """The answer is well-formed JSON of a shape, unit or meter that we did not ask for."""


class RequestRefused(DataError):
    """The supplier calls our request wrong: our bug."""


class OperatorFault(DataError):
    """The application itself is refused (credentials, subscription): the operator must act, no account."""


class WriteRefused(DataError):
    """The store refused a document for a reason that repeating does not cure."""
