"""The audit trail: who did what to which account, when, from where, and with what outcome.

An entry names accounts, sessions and tokens by their ids. Its only personal data are an operator's name and the IP
address of a request; it has no meter, no mail address and no name of a household.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from worker.domain.windows import ONE_DAY, local_midnight

AUDIT_KEPT: Final = timedelta(days=400)  # The database's triggers contain this time too, so a change needs a migration.
DONE: Final = "ok"  # The outcome of a completed action; any other outcome is the code of a refusal or failure.
TOO_MANY_CODES: Final = "operator.codes"  # The outcome if a one-time code is refused because too many were tried.
LONGEST_ACTOR: Final = 100
_FIRST_DAY, _LAST_DAY = date(2026, 1, 1), date(2099, 12, 31)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_OUTCOME: Final = 64
# The forms of an account's id, of a subject (another id, or a setting's name), and of what may be a meter's number.
_ACCOUNT: Final = re.compile(r"[a-z][a-z0-9]{0,31}")
_SUBJECT: Final = re.compile(r"[a-z0-9_-]{1,40}")
_METER: Final = re.compile(r"(gi)?[0-9_-]+")


class ActorKind(StrEnum):
    """The kinds of actors, by how they were authenticated."""

    HOUSEHOLD = "household"  # A session of a household; the actor is the session's id.
    OPERATOR = "operator"  # A session of an operator; the actor is the operator's name.
    TOKEN = "token"  # noqa: S105 - A program with an API token; the actor is the token's id.
    CLIENT = "client"  # A client of the consent proxy; the actor is the client's id.
    COMMAND = "command"  # The command line; the actor is the machine's user.
    VISITOR = "visitor"  # An unauthenticated browser or program; it has no name.


class AuditAction(StrEnum):
    """The action that was done or tried: the kind of object, a dot, and the verb."""

    ACCOUNT_ADD = "account.add"
    ACCOUNT_BACKFILL = "account.backfill"
    ACCOUNT_BILL_DAY = "account.bill_day"  # The day on which a household's bills begin, which is not in the entry.
    ACCOUNT_ERASE = "account.erase"
    ACCOUNT_EXPORT = "account.export"  # A CSV of a list of accounts; the subject names the list.
    ACCOUNT_FIND = "account.find"  # Somebody looks up an account; what was typed isn't in the entry.
    ACCOUNT_IMPORT = "account.import"  # Files are imported; the subject counts new, equal and different days.
    ACCOUNT_JOIN = "account.join"
    ACCOUNT_NAME = "account.name"  # A meter gets a name or loses it; the name isn't in the entry.
    ACCOUNT_NOTE = "account.note"  # An operator writes or removes a note; its text isn't in the entry.
    ACCOUNT_PART = "account.part"
    ACCOUNT_PAUSE = "account.pause"
    ACCOUNT_REBUILD = "account.rebuild"
    ACCOUNT_REPAIR = "account.repair"
    ACCOUNT_REPLAY = "account.replay"
    ACCOUNT_RESUME = "account.resume"
    ACCOUNT_SERIES = "account.series"
    ACCOUNT_STOP = "account.stop"
    ACCOUNT_SYNC = "account.sync"
    ACCOUNT_TOKEN = "account.token"  # noqa: S105 - A home's account gets a new token for its gateway.
    ADDRESS_CONFIRM = "address.confirm"  # In these five actions, the address is a household's mail address.
    ADDRESS_GIVE = "address.give"
    ADDRESS_MONTH = "address.month"  # The figures of each month by mail are switched on or off.
    ADDRESS_NOTICES = "address.notices"
    ADDRESS_REMOVE = "address.remove"
    ALERTS_SET = "alerts.set"
    BACKUP_MAKE = "backup.make"
    BACKUP_RESTORE = "backup.restore"
    CAMPAIGN_ADD = "campaign.add"
    CAMPAIGN_ANSWER = "campaign.answer"  # A person presses a button of the page that a campaign's link opens.
    CAMPAIGN_EXPORT = "campaign.export"
    CAMPAIGN_REMOVE = "campaign.remove"
    CAMPAIGN_RESUME = "campaign.resume"
    CAMPAIGN_STOP = "campaign.stop"
    CONSENT_BEGIN = "consent.begin"
    CONSENT_CONNECT = "consent.connect"
    CONSENT_NEW_HOLDER = "consent.new_holder"
    EVIDENCE_EXPORT = "evidence.export"
    GRANT_END = "grant.end"  # The grant of a client of the consent proxy ends.
    GRANT_TOKEN = "grant.token"  # noqa: S105 - A client exchanges a code of the consent proxy for tokens.
    INCIDENT_CLOSE = "incident.close"
    INCIDENT_OPEN = "incident.open"
    INVITATION_CREATE = "invitation.create"
    INVITATION_OPEN = "invitation.open"
    INVITATION_REVOKE = "invitation.revoke"
    KEYS_ROTATE = "keys.rotate"
    LAYOUT_MIGRATE = "layout.migrate"
    OPERATOR_ADD = "operator.add"
    OPERATOR_END = "operator.end"
    OPERATOR_LINK = "operator.link"
    OPERATOR_PASSWORD = "operator.password"  # noqa: S105
    OPERATOR_ROLE = "operator.role"
    OUTPUT_ADD = "output.add"
    OUTPUT_REMOVE = "output.remove"
    OUTPUT_RESEND = "output.resend"
    POLICY_SET = "policy.set"
    PRICES_COLOURS = "prices.colours"  # Of Tempo, for all accounts.
    PRICES_REMOVE = "prices.remove"
    PRICES_SET = "prices.set"
    PRICES_UPDATE = "prices.update"  # Of the regulator's files.
    PROXY_CLIENT_CREATE = "proxy_client.create"
    PROXY_CLIENT_REVOKE = "proxy_client.revoke"
    PROXY_CLIENT_SET = "proxy_client.set"
    READING_OPEN = "reading.open"
    READING_TRY = "reading.try"
    RECOVERY_CODE = "recovery_code.create"
    REQUEST_ACCEPT = "request.accept"
    REQUEST_REFUSE = "request.refuse"
    RIGHT_CHECK = "right.check"
    RIGHT_DECLARE = "right.declare"
    RIGHT_PROOF = "right.proof"
    SAMPLE_CLEAR = "sample.clear"
    SAMPLE_SHOW = "sample.show"
    SCHEMA_MIGRATE = "schema.migrate"
    SECRET_SHOW = "secret.show"  # noqa: S105
    SESSION_END = "session.end"
    SESSION_OPEN = "session.open"
    SESSION_END_OTHERS = "session.end_others"
    SIGN_IN_MAIL = "sign_in.mail"
    SUPPORT_BUNDLE = "support.bundle"
    TENANT_SET = "tenant.set"
    TOKEN_CREATE = "token.create"  # noqa: S105
    TOKEN_REVOKE = "token.revoke"  # noqa: S105


class Actor(NamedTuple):
    """Who has done something. ``address``: the IP address of the request; None for a command."""

    kind: ActorKind
    name: str
    address: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry of the audit trail.

    ``tenant``: the service that the action concerns; None if it concerns the whole installation, or if the service is
    unknown. ``subject``: a further object of the action, such as the id of a token. ``address``: as in ``Actor``.
    """

    id: str
    at: datetime
    actor_kind: str
    actor: str
    action: str
    outcome: str = DONE
    tenant: str | None = None
    account_id: str | None = None
    subject: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Conditions for entries; a condition that is None allows all.

    ``actor``: an id or a name, or the kind of actor. ``since`` is included, ``until`` is not.
    """

    account_id: str | None = None
    actor: str | None = None
    action: str | None = None
    tenant: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def days_of(since: date | None, until: date | None) -> tuple[datetime | None, datetime | None]:
    """Return the moments ``since`` and ``until`` of an ``AuditFilter`` for these local days, both days included.

    A moment is None, which means no limit, if its day is None. ``since`` is also None for days up to ``_FIRST_DAY``,
    and ``until`` for days from ``_LAST_DAY`` on.
    """
    start = local_midnight(since) if since and since > _FIRST_DAY else None
    return start, local_midnight(until + ONE_DAY) if until and until < _LAST_DAY else None


def new_entry(
    at: datetime,
    actor: Actor,
    action: AuditAction,
    outcome: str = DONE,
    *,
    tenant: str | None = None,
    account_id: str | None = None,
    subject: str | None = None,
) -> AuditEntry:
    """Return a new entry. Its id begins with the moment in µs, so ids sort by time.

    An account or subject that doesn't have the form of an id, or looks like a meter's number, is left out: somebody may
    have typed a meter's number in its place.
    """
    return AuditEntry(
        f"{(at - _EPOCH) // timedelta(microseconds=1):014x}{secrets.token_hex(5)}",
        at,
        actor.kind.value,
        actor.name[:LONGEST_ACTOR],
        action.value,
        outcome[:_LONGEST_OUTCOME],
        tenant,
        account_id if account_id and _is_no_meter(_ACCOUNT, account_id) else None,
        subject if subject and _is_no_meter(_SUBJECT, subject) else None,
        actor.address,
    )


def _is_no_meter(form: re.Pattern[str], text: str) -> bool:
    """Return whether a text has this form and can't be a meter's number."""
    return form.fullmatch(text) is not None and _METER.fullmatch(text) is None
