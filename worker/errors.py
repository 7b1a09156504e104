"""The error tree: its first level says what Relève does about an error, the second where it came from.

A task retries a ``TransientError``.  An ``AccountError`` suspends the account until its owner acts.  A ``DataError`` is
reported, and the window is not fetched again in this run.  Celery sends errors between processes, so that each can be
rebuilt from its message alone; no message holds a token, a meter number or a payload.

A class is the one description of its error, and a subclass says only what differs:

``code``           What the account shows: one code a cause. Where cozy-konnector-libs has a word for it, it begins
                   with that word (``VENDOR_DOWN.TIMEOUT``), as its own codes do. Its texts for people stand in
                   ``locales/codes.json``. Empty for an error that is no account's.
``answer_class``   The class under which a failed call is remembered.
``incident``       The kind of incident (a value of ``IncidentKind``) that the same error on many accounts makes; None
                   if it says nothing about the supplier.
``kind``           Its name as a label of metrics.
``suspends``       Whether an account may wait for its owner under this code.
``renewable``      Whether a new consent cures it.
``while_closed``   Of a refusal that closes the gate: what is said of each call until it opens; ``{}`` is the supplier.
``remedy``         What the reference of errors advises, in Markdown; None where the text of the code says it.

``tools.error_reference`` prints each docstring's first paragraph.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from worker.domain.fleet.outcomes import AnswerClass

IncidentName = Literal["outage", "application", "answers", "consent", "holder", "meter", "login"]

_ASKED_AGAIN: Final = "Nothing: it is asked again by itself."
_REPORT: Final = "Run `releve -v sync ACCOUNT --inline` and report what it says."


class WorkerError(Exception):
    """Anything Relève foresees going wrong; its text says what to do."""

    code: ClassVar[str] = ""
    answer_class: ClassVar[AnswerClass] = AnswerClass.BUG
    incident: ClassVar[IncidentName | None] = None
    kind: ClassVar[str] = "unforeseen"
    suspends: ClassVar[bool] = False
    renewable: ClassVar[bool] = False
    remedy: ClassVar[str | None] = None


class Unforeseen(WorkerError):
    """An exception that nobody foresaw: a bug of ours; the window is tried again like after an outage."""

    code = "UNKNOWN_ERROR.BUG"
    remedy = f"It is asked again by itself. {_REPORT}"


class TransientError(WorkerError):
    """The same call may well work later; ``retry_after_s`` is the wait asked for, or None."""

    kind = "supplier_unavailable"

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(TransientError):
    """Our own pacing has no call left at the moment: the call waits for its turn. The supplier was not asked."""

    code: ClassVar[str] = "RATE_LIMITED"
    answer_class = AnswerClass.QUOTA
    kind = "rate_limited"
    remedy = f"{_ASKED_AGAIN} See [quotas](../explanation/quotas.md)."


class SupplierLimited(RateLimited):
    """The supplier says that the quota is used up (429): all calls wait as long as it asked for."""

    code: ClassVar[str] = "RATE_LIMITED.BY_SUPPLIER"
    while_closed: ClassVar[str] = "{} says that the quota is used up: we wait as long as it asked for"


class GatewayBanned(SupplierLimited):
    """The gateway has shut out this address (403 with a page in place of an answer): nothing is asked for a day."""

    code = "GATEWAY_BANNED"
    answer_class = AnswerClass.BANNED
    remedy = (
        "Nothing: it is asked again after a day, by itself. Where it comes back, see that no other program asks from "
        "the same address, then write to the gateway's owner ([use a gateway](../how-to/use-a-gateway.md))."
    )
    while_closed = "{} has shut out this address: nothing is asked of it for a day"


class IncidentOpen(RateLimited):
    """An incident is open, so nobody is asked; the window is due again when that is over."""

    code = "VENDOR_DOWN.INCIDENT"  # What makes us wait is the supplier's outage.
    answer_class = AnswerClass.OUTAGE
    kind = "held"
    remedy = f"{_ASKED_AGAIN} See [incidents](../explanation/incidents.md)."


class SupplierUnavailable(TransientError):
    """The supplier gave no usable answer. Never raised itself: its subclasses say why."""

    code: ClassVar[str] = "VENDOR_DOWN"
    answer_class = AnswerClass.OUTAGE
    incident: ClassVar[IncidentName | None] = "outage"
    remedy = f"{_ASKED_AGAIN} Where it lasts, `releve doctor` tells the supplier from the network."


class SupplierUnreachable(SupplierUnavailable):
    """No connection to the supplier: no route, no such name, refused, or no common encryption."""

    code = "VENDOR_DOWN.UNREACHABLE"


class SupplierTooSlow(SupplierUnavailable):
    """The supplier did not finish its answer in time."""

    code = "VENDOR_DOWN.TIMEOUT"


class AnswerBrokenOff(SupplierUnavailable):
    """The supplier's answer broke off, or arrived damaged."""

    code = "VENDOR_DOWN.ANSWER_BROKEN_OFF"


class SupplierFault(SupplierUnavailable):
    """The supplier answered with an error of its own (5xx, or a code that says so)."""

    code = "VENDOR_DOWN.SERVER_ERROR"


class AnswerNotJson(SupplierUnavailable):
    """The answer is no JSON, for example a page of a gateway."""

    code = "VENDOR_DOWN.NOT_JSON"


class StoreUnavailable(TransientError):
    """CouchDB, the SQL database or Redis can't be reached: infrastructure, no account is to blame."""

    answer_class = AnswerClass.STORE
    kind = "store_unavailable"
    remedy = "`releve doctor` says which server can't be reached."


class NotDelivered(TransientError):
    """The receiver of our notices or of an output did not take what was sent; it is sent again later."""

    remedy = (
        "Look at `RELEVE_WEBHOOK_URL` or `RELEVE_NOTIFY_URL`, or at `releve outputs list`. After eight tries a notice "
        "is given up; what an output waits for is kept."
    )


class PageNotReady(TransientError):
    """A page of our own, or of a server that was started beside it, does not answer as it should yet."""

    remedy = "Its text says which."


class ProxyBusy(TransientError):
    """As many clients of the proxy wait for the supplier as may at once."""

    remedy = "The client tries again by itself, after the seconds of `Retry-After`."


class RightChanging(TransientError):
    """A right of this meter is being withdrawn, so no other one can be declared yet."""

    remedy = "Try again in some minutes."


class AccountError(WorkerError):
    """This account waits for its owner; automatic runs skip it."""

    code: ClassVar[str] = "USER_ACTION_NEEDED"
    answer_class = AnswerClass.METER
    kind = "action_needed"
    suspends = True


class ConsentRevoked(AccountError):
    """The consent ended or was withdrawn: the owner must consent again.

    After a data call this may be wrong: ``worker.accounts.refusals`` waits for a second refusal before it suspends the
    account.
    """

    code: ClassVar[str] = "USER_ACTION_NEEDED.OAUTH_OUTDATED"
    answer_class = AnswerClass.CONSENT
    incident: ClassVar[IncidentName | None] = "consent"
    renewable = True


class RefreshTokenDead(ConsentRevoked):
    """The refresh token or code is refused, or there is none: no doubt, nothing but a new consent helps."""


class RefreshAnswerLost(RefreshTokenDead):
    """The supplier took the refresh token, but its answer with the next one never reached us."""

    code: ClassVar[str] = "USER_ACTION_NEEDED.OAUTH_OUTDATED.REFRESH_LOST"
    incident = None  # The token is really lost: only a new consent helps.


class RightEnded(ConsentRevoked):
    """The supplier lists the right of access as ended: refused, revoked, obsolete, or to be checked anew.

    The supplier says so itself when it is asked for its rights, so one look is enough.
    """

    code: ClassVar[str] = "USER_ACTION_NEEDED.OAUTH_OUTDATED.RIGHT_ENDED"


class TokenRefused(ConsentRevoked):
    """The gateway refuses the account's token: it is wrong, has ended, or is not for this meter."""

    code: ClassVar[str] = "USER_ACTION_NEEDED.OAUTH_OUTDATED.TOKEN_REFUSED"
    answer_class = AnswerClass.TOKEN
    renewable = False  # No consent page of ours cures it, but a new token from the gateway's.


class TokenNeeded(AccountError):
    """No token of the gateway is kept for this account, or it has ended, so no call was made."""

    code: ClassVar[str] = "USER_ACTION_NEEDED.TOKEN_NEEDED"
    answer_class = AnswerClass.TOKEN


class ConsentEnded(AccountError):
    """The last day of the consent is over, so no call was made: the owner must consent again."""

    code: ClassVar[str] = "CONSENT_ENDED"
    answer_class = AnswerClass.CONSENT
    kind = "consent_ended"
    renewable: ClassVar[bool] = True


class ConsentStopped(ConsentEnded):
    """The household has stopped its consent here, so no call was made."""

    code: ClassVar[str] = "CONSENT_STOPPED"


class AccountClosed(ConsentEnded):
    """Another person holds the meter now, so no call was made; the history stays its own holder's."""

    code: ClassVar[str] = "ACCOUNT_CLOSED"
    suspends = False  # The account stays closed.
    renewable: ClassVar[bool] = False  # The new holder's consent belongs to another account.


class HolderChanged(AccountError):
    """The person who consented no longer holds the contract of this meter."""

    code: ClassVar[str] = "USER_ACTION_NEEDED.ACCOUNT_REMOVED"
    answer_class = AnswerClass.HOLDER
    incident = "holder"
    renewable = True


class UnknownUsagePoint(AccountError):
    """The supplier does not know this meter, or does not let us see it."""

    incident = "meter"


class LoginFailed(AccountError):
    """The account's token was refused again right after it was renewed."""

    code: ClassVar[str] = "LOGIN_FAILED"
    answer_class = AnswerClass.LOGIN
    incident = "login"
    renewable = True


class FilesOnly(AccountError):
    """The account of a gas meter was made by the import of a file, so nothing is asked for it."""

    code: ClassVar[str] = "FILES_ONLY"
    answer_class = AnswerClass.LOGIN


class UnknownAccount(AccountError):
    """No account of this id is in the registry."""

    code: ClassVar[str] = "CANNOT_FIND_ACCOUNT"
    answer_class = AnswerClass.BUG
    kind = "removed"
    suspends = False  # There is no account to suspend.


class DataError(WorkerError):
    """Keep it out and report it: asking again would give the same."""

    kind = "data_error"


class MalformedAnswer(DataError):
    """The answer is none that we asked for. Never raised itself: its subclasses say what is wrong with it."""

    code: ClassVar[str] = "ANSWER_MALFORMED"
    answer_class = AnswerClass.MALFORMED
    incident = "answers"
    remedy = _REPORT


class WrongUnit(MalformedAnswer):
    """The answer is in another unit than was asked for, or measures something else."""

    code = "ANSWER_MALFORMED.UNIT"


class WrongMeter(MalformedAnswer):
    """The answer is of another meter than was asked for, or mixes several."""

    code = "ANSWER_MALFORMED.METER"


class WrongShape(MalformedAnswer):
    """The answer is JSON without the fields that an answer of this series has."""

    code = "ANSWER_MALFORMED.SHAPE"


class BrokenJson(MalformedAnswer):
    """The answer is JSON that is written wrongly."""

    code = "ANSWER_MALFORMED.JSON"


class AnswerTooLarge(MalformedAnswer):
    """The answer is longer, or nested deeper, than any answer is."""

    code = "ANSWER_MALFORMED.TOO_LARGE"


class UnusableToken(MalformedAnswer):
    """The token endpoint answered without a token that can be used."""

    code = "ANSWER_MALFORMED.TOKEN"


class SeriesNotOffered(DataError):
    """The supplier says that this meter has no such series: the series ends, and the account goes on."""

    code: ClassVar[str] = "series_not_offered"
    answer_class = AnswerClass.NO_DATA  # It is an answer: there is nothing to be had.
    kind = "series_not_offered"


class RequestRefused(DataError):
    """The supplier calls our request wrong: our bug."""

    code = "UNKNOWN_ERROR.REQUEST_REFUSED"
    remedy = _REPORT


class OperatorFault(DataError):
    """A key, a setting or a version of this installation is wrong: the operator must act, no account."""

    code: ClassVar[str] = "SETUP_WRONG"
    answer_class = AnswerClass.APPLICATION
    incident = "application"
    kind = "operator_fault"
    remedy: ClassVar[str | None] = (
        "Run `releve doctor`: it names what is wrong and what to set. It is asked again every quarter of an hour."
    )


class ApplicationRefused(OperatorFault):
    """The supplier refuses the application itself (credentials, subscription): the operator must act, no account."""

    code = "APPLICATION_REFUSED"
    remedy = (
        "Check the client id, its secret, and that the application has subscribed each API "
        "([credentials](../how-to/enedis-credentials.md)). It is asked again every quarter of an hour."
    )


class WriteRefused(DataError):
    """The store refused a document for a reason that repeating does not cure."""

    code = "WRITE_REFUSED"
    remedy = f"{_REPORT} Its text names the store's own word."


class MeterElsewhere(DataError):
    """An account of another service (tenant) reads this meter, and a meter has one account that is read.

    Only a holder of an API token and the operator are told so; nothing names the account.
    """

    code: ClassVar[str] = "METER_ELSEWHERE"

    def __init__(self, message: str, tenant: str = "") -> None:
        super().__init__(message)
        self.tenant = tenant


class ProcessFailed(DataError):
    """A process that the command line started did not start, or has ended."""

    remedy = "Its text names the process and what its log says last."


class UnknownTenant(DataError):
    """No tenant of this name was set up."""

    remedy = "`releve tenants list` shows them; `releve tenants set NAME --title TEXT` makes one."


class UnknownOutput(DataError):
    """No output of this id was set up."""

    remedy = "`releve outputs list` shows them; `releve outputs add KIND` makes one."


class RightRefused(DataError):
    """The supplier can't register a right, or a proof of it, for a reason that a person can mend."""

    remedy = "Nothing was registered. The supplier's reason is in its text."


class RightContractEnded(RightRefused):
    """The contract of this meter has ended."""

    code: ClassVar[str] = "right_contract_ended"


class RightPostcodeWrong(RightRefused):
    """The postcode is not that of the meter."""

    code: ClassVar[str] = "right_postcode"


class RightNameWrong(RightRefused):
    """The name of the contract's holder is missing or not as the supplier wants it."""

    code: ClassVar[str] = "right_name"


class RightEmailWrong(RightRefused):
    """The e-mail address of the contract's holder is missing or no address."""

    code: ClassVar[str] = "right_email"


class RightRevoked(RightRefused):
    """The right was revoked, and can't be declared again like this."""

    code: ClassVar[str] = "right_revoked"


class RightScopeWrong(RightRefused):
    """The days or data of the right don't fit together."""

    code: ClassVar[str] = "right_scope"


class RightProofRefused(RightRefused):
    """The supplier does not take these files as proof of the consent."""

    code: ClassVar[str] = "right_proof"


class UnknownRequest(DataError):
    """No connection request of this id waits for the operator."""

    remedy = "`releve requests list` shows those that wait."


def describe_code(code: str) -> type[WorkerError]:
    """Return the class that declares a code and describes it. Raises ValueError for a code that no class declares."""
    if code not in CLASS_BY_CODE:
        raise ValueError(f"no error has the code {code!r}")
    return CLASS_BY_CODE[code]


# Codes that a version before 0.2.0 has stored in rows and that no error has any more; they keep their texts.
RETIRED_CODES: Final[dict[str, type[WorkerError]]] = {
    "VENDOR_DOWN": SupplierUnavailable,
    "UNKNOWN_ERROR": WorkerError,
}

ERROR_CLASSES: Final = [
    value for value in list(globals().values()) if isinstance(value, type) and issubclass(value, WorkerError)
]
# Where several classes declare a code, the first one describes it.
CLASS_BY_CODE: Final[dict[str, type[WorkerError]]] = {
    error_class.code: error_class for error_class in reversed(ERROR_CLASSES) if vars(error_class).get("code")
}
