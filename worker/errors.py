"""The error tree: its first level decides what Relève does about an error, the second level names its origin.

A task retries a ``TransientError``. An ``AccountError`` makes the account wait until its holder acts. A ``DataError``
is reported, and the window is not fetched again in this run. Celery sends errors between processes, so each error can
be rebuilt from its message alone. No message holds a token, a meter number or a payload.

All facts about an error are attributes of its class; a subclass sets only those that differ:

``code``           The code shown for the account; each cause has its own. If cozy-konnector-libs has a code for the
                   error, our code begins with it, as in ``VENDOR_DOWN.TIMEOUT``. The texts that explain a code to
                   people are in ``locales/codes.json``. Empty for an error that concerns no account.
``answer_class``   The class under which a failed call is remembered.
``incident``       The kind of incident (a value of ``IncidentKind``) that opens if many accounts have this error; None
                   if the error says nothing about the supplier.
``kind``           The value that stands for the error in the labels of metrics.
``suspends``       Whether an account may be suspended with this code.
``renewable``      Whether a new consent solves the problem.
``while_closed``   Only for a refusal that closes the supplier's gate (``quota.ledger``): the error message of every
                   call until the gate opens again. ``{}`` stands for the supplier's name.
``remedy``         Advice in the reference of errors, in Markdown; None if the texts of the code already give advice.

``tools.error_reference`` prints the first paragraph of each class's docstring.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from worker.domain.calls import AnswerClass

IncidentName = Literal["outage", "application", "answers", "consent", "holder", "meter", "login"]
_ASKED_AGAIN: Final = "Nothing: Relève retries by itself."
_REPORT: Final = "Run `releve -v sync ACCOUNT --inline` and report its output."


class WorkerError(Exception):
    """Anything that Relève expects to go wrong; its text says what to do."""

    code: ClassVar[str] = ""
    answer_class: ClassVar[AnswerClass] = AnswerClass.BUG
    incident: ClassVar[IncidentName | None] = None
    kind: ClassVar[str] = "unforeseen"
    suspends: ClassVar[bool] = False
    renewable: ClassVar[bool] = False
    remedy: ClassVar[str | None] = None


class UnexpectedError(WorkerError):
    """An unexpected exception, which is a bug in Relève. The window is retried as after an outage."""

    code = "UNKNOWN_ERROR.BUG"
    remedy = f"Relève retries by itself. {_REPORT}"


class WorkerLost(UnexpectedError):
    """Three workers ended within an hour while they ran the same task, so no other worker gets this task for now."""

    code = "WORKER_LOST"
    kind = "worker_lost"
    remedy = (
        "Look for what ended the workers (memory limit, crash) in the log of the system or container. A window is "
        "tried again by itself."
    )


class TransientError(WorkerError):
    """An error that a retry may solve. ``retry_after_s``: how many seconds to wait first; None if that is unknown."""

    kind = "supplier_unavailable"

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(TransientError):
    """Relève's own rate limit is reached, so the call waits for its turn. No request was sent to the supplier."""

    code: ClassVar[str] = "RATE_LIMITED"
    answer_class = AnswerClass.QUOTA
    kind = "rate_limited"
    remedy = f"{_ASKED_AGAIN} See [quotas](../explanation/quotas.md)."


class SupplierLimited(RateLimited):
    """The supplier says that the quota is used up (429). All calls pause for as long as the supplier asks."""

    code: ClassVar[str] = "RATE_LIMITED.BY_SUPPLIER"
    while_closed: ClassVar[str] = "{} says that the quota is used up: all calls pause for as long as it asks"


class GatewayBanned(SupplierLimited):
    """The gateway blocks Relève's address (403 with a web page instead of data). No calls are made for a day."""

    code = "GATEWAY_BANNED"
    answer_class = AnswerClass.BANNED
    remedy = (
        "Nothing: Relève retries by itself after a day. If it happens again, check that no other program uses the "
        "gateway from the same address, then write to the gateway's owner ([use a "
        "gateway](../how-to/use-a-gateway.md))."
    )
    while_closed = "{} blocks this address: no calls for a day"


class IncidentOpen(RateLimited):
    """An incident is open, so no call was made. The window is retried when the incident is over."""

    code = "VENDOR_DOWN.INCIDENT"  # The cause of the wait is the supplier's outage.
    answer_class = AnswerClass.OUTAGE
    kind = "held"
    remedy = f"{_ASKED_AGAIN} See [incidents](../explanation/incidents.md)."


class SupplierUnavailable(TransientError):
    """The supplier gave no usable answer. The codes below name the reason; this code is never used by itself."""

    code: ClassVar[str] = "VENDOR_DOWN"
    answer_class = AnswerClass.OUTAGE
    incident: ClassVar[IncidentName | None] = "outage"
    remedy = f"{_ASKED_AGAIN} If it persists, `releve doctor` shows whether the supplier or the network is at fault."


class SupplierUnreachable(SupplierUnavailable):
    """No connection to the supplier: no route, unknown host name, connection refused or TLS error."""

    code = "VENDOR_DOWN.UNREACHABLE"


class SupplierTooSlow(SupplierUnavailable):
    """The supplier's answer was not complete before the timeout."""

    code = "VENDOR_DOWN.TIMEOUT"


class AnswerBrokenOff(SupplierUnavailable):
    """The supplier's answer broke off, or arrived damaged."""

    code = "VENDOR_DOWN.ANSWER_BROKEN_OFF"


class SupplierFault(SupplierUnavailable):
    """The supplier answered that it has a fault itself (status 5xx, or an error code with that meaning)."""

    code = "VENDOR_DOWN.SERVER_ERROR"


class AnswerNotJson(SupplierUnavailable):
    """The answer is not JSON, but for instance a gateway's error page."""

    code = "VENDOR_DOWN.NOT_JSON"


class StoreUnavailable(TransientError):
    """CouchDB, the SQL database or Redis can't be reached. No account is affected."""

    answer_class = AnswerClass.STORE
    kind = "store_unavailable"
    remedy = "`releve doctor` shows which server can't be reached."


class NotDelivered(TransientError):
    """An output, or the receiver of a notice, did not accept what Relève sent. Relève sends it again later."""

    remedy = (
        "Check `RELEVE_WEBHOOK_URL` or `RELEVE_NOTIFY_URL`, or run `releve outputs list`. A notice is dropped after "
        "eight tries; data for an output is kept."
    )


class PageNotReady(TransientError):
    """A page of Relève, or of a server that Relève started, does not answer correctly yet."""

    remedy = "The error text names the page."


class ProxyBusy(TransientError):
    """Too many requests from clients of the consent proxy wait for the supplier at the same time."""

    remedy = "The client retries by itself after the seconds in `Retry-After`."


class SignInBusy(TransientError):
    """Too many sign-ins wait at the same time for the check of their password."""

    remedy = "Try again in a few seconds. If it lasts, the log of `releve web` names the addresses that guess."


class RightChanging(TransientError):
    """An access right to this meter is being withdrawn, so no other right can be declared yet."""

    remedy = "Try again in a few minutes."


class AccountError(WorkerError):
    """The account waits until its holder acts; automatic runs skip the account."""

    code: ClassVar[str] = "USER_ACTION_NEEDED"
    answer_class = AnswerClass.METER
    kind = "action_needed"
    suspends = True


class ConsentRevoked(AccountError):
    """The consent ended or was withdrawn. The holder must consent again.

    The supplier may answer a data call with this error by mistake, so ``worker.accounts.refusals`` waits for a second
    refusal before it suspends the account.
    """

    code: ClassVar[str] = "USER_ACTION_NEEDED.OAUTH_OUTDATED"
    answer_class = AnswerClass.CONSENT
    incident: ClassVar[IncidentName | None] = "consent"
    renewable = True


class RefreshTokenDead(ConsentRevoked):
    """The refresh token or the authorization code is refused or missing. The holder must consent again."""


class RefreshAnswerLost(RefreshTokenDead):
    """The supplier used up the refresh token, but the answer with the next refresh token was lost."""

    code: ClassVar[str] = "USER_ACTION_NEEDED.OAUTH_OUTDATED.REFRESH_LOST"
    incident = None  # The supplier has no problem: the token is lost, and only a new consent helps.


class RightEnded(ConsentRevoked):
    """The supplier lists the access right as ended: refused, revoked, obsolete, or to be verified again.

    The supplier's list of rights is certain, so the account is suspended without waiting for a second refusal.
    """

    code: ClassVar[str] = "USER_ACTION_NEEDED.OAUTH_OUTDATED.RIGHT_ENDED"


class TokenRefused(ConsentRevoked):
    """The gateway refuses the account's token: it is wrong, has expired, or is for another meter."""

    code: ClassVar[str] = "USER_ACTION_NEEDED.OAUTH_OUTDATED.TOKEN_REFUSED"
    answer_class = AnswerClass.TOKEN
    renewable = False  # The account needs a new token from the gateway's page; our consent page can't help.


class TokenNeeded(AccountError):
    """The account's gateway token is missing or has expired, so no call was made."""

    code: ClassVar[str] = "USER_ACTION_NEEDED.TOKEN_NEEDED"
    answer_class = AnswerClass.TOKEN


class ConsentEnded(AccountError):
    """The consent has expired, so no call was made. The holder must consent again."""

    code: ClassVar[str] = "CONSENT_ENDED"
    answer_class = AnswerClass.CONSENT
    kind = "consent_ended"
    renewable: ClassVar[bool] = True


class ConsentStopped(ConsentEnded):
    """The household stopped its consent on Relève's pages, so no call was made."""

    code: ClassVar[str] = "CONSENT_STOPPED"


class AccountClosed(ConsentEnded):
    """Another person holds the meter now, so no call was made. The former holder keeps the history."""

    code: ClassVar[str] = "ACCOUNT_CLOSED"
    suspends = False  # The account is already closed, and stays so.
    renewable: ClassVar[bool] = False  # The new holder's consent belongs to another account.


class HolderChanged(AccountError):
    """The person who consented no longer holds this meter's contract."""

    code: ClassVar[str] = "USER_ACTION_NEEDED.ACCOUNT_REMOVED"
    answer_class = AnswerClass.HOLDER
    incident = "holder"
    renewable = True


class UnknownUsagePoint(AccountError):
    """The supplier does not know this meter, or refuses access to it."""

    incident = "meter"


class LoginFailed(AccountError):
    """The account's token was refused again right after its renewal."""

    code: ClassVar[str] = "LOGIN_FAILED"
    answer_class = AnswerClass.LOGIN
    incident = "login"
    renewable = True


class FilesOnly(AccountError):
    """The account was created by importing files, so no calls are made for it."""

    code: ClassVar[str] = "FILES_ONLY"
    answer_class = AnswerClass.LOGIN


class UnknownAccount(AccountError):
    """The registry has no account with this id."""

    code: ClassVar[str] = "CANNOT_FIND_ACCOUNT"
    answer_class = AnswerClass.BUG
    kind = "removed"
    suspends = False  # There is no account to suspend.


class DataError(WorkerError):
    """An error that is reported and not retried, because the answer would be the same."""

    kind = "data_error"


class MalformedAnswer(DataError):
    """The answer does not fit the request. The codes below name the reason; this code is never used by itself."""

    code: ClassVar[str] = "ANSWER_MALFORMED"
    answer_class = AnswerClass.MALFORMED
    incident = "answers"
    remedy = _REPORT


class WrongUnit(MalformedAnswer):
    """The answer has a unit other than the requested one, or measures something else."""

    code = "ANSWER_MALFORMED.UNIT"


class WrongMeter(MalformedAnswer):
    """The answer is about a meter other than the requested one, or about several meters."""

    code = "ANSWER_MALFORMED.METER"


class WrongShape(MalformedAnswer):
    """The answer is JSON, but lacks fields that this series must have."""

    code = "ANSWER_MALFORMED.SHAPE"


class BrokenJson(MalformedAnswer):
    """The answer is invalid JSON."""

    code = "ANSWER_MALFORMED.JSON"


class AnswerTooLarge(MalformedAnswer):
    """The answer is longer, or more deeply nested, than a real answer can be."""

    code = "ANSWER_MALFORMED.TOO_LARGE"


class UnusableToken(MalformedAnswer):
    """The token endpoint answered without a usable token."""

    code = "ANSWER_MALFORMED.TOKEN"


class SeriesNotOffered(DataError):
    """The supplier says that this meter has no such series. The series ends; the account continues."""

    code: ClassVar[str] = "series_not_offered"
    answer_class = AnswerClass.NO_DATA  # It is a valid answer: there is no data.
    kind = "series_not_offered"


class RequestRefused(DataError):
    """The supplier says that Relève's request is wrong, which is a bug in Relève."""

    code = "UNKNOWN_ERROR.REQUEST_REFUSED"
    remedy = _REPORT


class OperatorFault(DataError):
    """A key, setting or version of this installation is wrong. The operator must act."""

    code: ClassVar[str] = "SETUP_WRONG"
    answer_class = AnswerClass.APPLICATION
    incident = "application"
    kind = "operator_fault"
    remedy: ClassVar[str | None] = (
        "Run `releve doctor`: it shows what is wrong and what to set. Relève retries every 15 minutes."
    )


class ApplicationRefused(OperatorFault):
    """The supplier refuses the application (credentials or subscription). The operator must act."""

    code = "APPLICATION_REFUSED"
    remedy = (
        "Check the client id, the client secret, and that the application is subscribed to each API "
        "([credentials](../how-to/enedis-credentials.md)). Relève retries every 15 minutes."
    )


class WriteRefused(DataError):
    """The database refused a document for a reason that a retry does not solve."""

    code = "WRITE_REFUSED"
    remedy = f"{_REPORT} The error text has the database's reason."


class MeterElsewhere(DataError):
    """An account of another tenant reads this meter, and only one account may read a meter.

    Only the operator and programs with an API token see this error; no text names the other account.
    """

    code: ClassVar[str] = "METER_ELSEWHERE"

    def __init__(self, message: str, tenant: str = "") -> None:
        super().__init__(message)
        self.tenant = tenant


class ProcessFailed(DataError):
    """A process that a command launched did not come up, or has ended."""

    remedy = "The error text has the process and the last line of its log."


class UnknownTenant(DataError):
    """No tenant has this name."""

    remedy = "`releve tenants` shows the tenants; `releve tenants NAME --title TEXT` adds one."


class UnknownOutput(DataError):
    """No output has this id."""

    remedy = "`releve outputs list` shows the outputs; `releve outputs add KIND` adds one."


class RightRefused(DataError):
    """The supplier can't register a right, or its proof, for a reason that a person can correct."""

    remedy = "Nothing was registered. The error text has the supplier's reason."


class RightContractEnded(RightRefused):
    """The contract of this meter has ended."""

    code: ClassVar[str] = "right_contract_ended"


class RightPostcodeWrong(RightRefused):
    """The postcode is not the meter's."""

    code: ClassVar[str] = "right_postcode"


class RightNameWrong(RightRefused):
    """The supplier does not accept the name of the contract's holder, or the name is missing."""

    code: ClassVar[str] = "right_name"


class RightEmailWrong(RightRefused):
    """The mail address of the contract's holder is missing or invalid."""

    code: ClassVar[str] = "right_email"


class RightRevoked(RightRefused):
    """The supplier says that this right was revoked, and does not register it again."""

    code: ClassVar[str] = "right_revoked"


class RightScopeWrong(RightRefused):
    """The period of the right, or the data that it covers, is inconsistent."""

    code: ClassVar[str] = "right_scope"


class RightProofRefused(RightRefused):
    """The supplier does not accept these files as proof of the consent."""

    code: ClassVar[str] = "right_proof"


class UnknownRequest(DataError):
    """No waiting connection request has this id."""

    remedy = "`releve consents --requests` shows the waiting requests."


def describe_code(code: str) -> type[WorkerError]:
    """Return the error class that describes a code. Raises ValueError if no class declares the code."""
    if code not in CLASS_BY_CODE:
        raise ValueError(f"no error has the code {code!r}")
    return CLASS_BY_CODE[code]


ERROR_CLASSES: Final = [
    value for value in list(globals().values()) if isinstance(value, type) and issubclass(value, WorkerError)
]
# If several classes declare the same code, the first of these classes describes it.
CLASS_BY_CODE: Final[dict[str, type[WorkerError]]] = {
    error_class.code: error_class for error_class in reversed(ERROR_CLASSES) if vars(error_class).get("code")
}
