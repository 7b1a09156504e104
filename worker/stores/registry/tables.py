"""The registry's SQL tables. A change here needs a migration; a test checks that the migrations lead to these tables.

The usage point id (the meter's number) is personal data. It is stored unencrypted only in ``usage_points``: the
registry must find an account by its meter, and an index of keyed hashes would break when keys are rotated. An account's
row in ``usage_points`` is deleted when the account is removed. All other tables and stores name an account only by its
id. A browser's *name* is a random text that we set in a cookie.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Date,
    Enum,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    event,
    false,
    text,
    true,
)
from sqlalchemy.schema import SchemaItem

from worker.domain.access_right import ProofState, RightRole, RightState
from worker.domain.account import DEFAULT_TENANT, AccountState
from worker.domain.answers import DeviationKind
from worker.domain.audit_entry import AUDIT_KEPT
from worker.domain.calls import AnswerClass
from worker.domain.campaign import RecipientState
from worker.domain.consents import ConsentKind, Proof
from worker.domain.evidence import DatesSource, EvidenceEvent
from worker.domain.invitation import InvitationPurpose
from worker.domain.notice import NoticeKind
from worker.domain.series import Doctype, Series, SeriesSwitch
from worker.stores.database import UtcDateTime, sortable


def _word(kind: type[StrEnum], length: int) -> Enum:
    """Return the type of a column that stores a member of ``kind`` as text."""
    return Enum(
        kind, native_enum=False, length=length, values_callable=lambda members: [member.value for member in members]
    )


NEVER: Final = datetime(2000, 1, 1, tzinfo=UTC)  # NEVER sorts first, so rows that were never requested come first.
NO_DAY: Final = date(2000, 1, 1)
# Conditions of partial indexes, in SQL that is valid in SQLite and PostgreSQL.
ACTIVE: Final = "active = true"
HAS_REASON: Final = "reason <> ''"
METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def _table(name: str, *parts: SchemaItem) -> Table:
    return Table(name, METADATA, *parts)


def _partial(name: str, columns: tuple[str, ...], condition: str) -> Index:
    return Index(f"ix_{name}", *columns, sqlite_where=text(condition), postgresql_where=text(condition))


def _tenant() -> Column[str]:
    """Return the column for a row's tenant. A row inserted without a tenant belongs to the default tenant."""
    return Column("tenant", sortable(32), nullable=False, server_default=DEFAULT_TENANT)


def belongs_to(table: Table, tenant: str | None) -> tuple[ColumnElement[bool], ...]:
    """Return the condition for a tenant's rows; no condition if ``tenant`` is None, which means all tenants."""
    return () if tenant is None else (table.c.tenant == tenant,)


# The tenants that have a name (``title``) or prices. The default tenant exists even without a row.
TENANTS = _table(
    "tenants",
    Column("id", sortable(32), primary_key=True),
    Column("title", String(100), nullable=False),  # The name of the tenant's service, shown to households.
    Column("sealed_webhook", Text),  # JSON: the URL, and the secret that signs the notices.
    Column("created_at", UtcDateTime, nullable=False),
    Column("prices", Text),  # JSON: what accounts pay that have no prices of their own.
)
# Files that were published for everybody, such as the regulated prices: the newest copy of each.
PUBLIC_FILES = _table(
    "public_files",
    Column("name", sortable(64), primary_key=True),
    Column("text", Text, nullable=False),
    Column("copied_on", Date, nullable=False),
)
ACCOUNTS = _table(
    "accounts",
    Column("id", sortable(32), primary_key=True),
    _tenant(),
    Column("supplier", String(32), nullable=False),
    Column("state", _word(AccountState, 16), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("state_since", UtcDateTime, nullable=False),
    Column("consent_from", Date),
    Column("consent_until", Date),
    Column("data_from", Date),  # The first day that may be read; before it, another person had the meter.
    Column("activated_on", Date),  # The contract's start according to the supplier; earlier days aren't requested.
    # A session notes this number, and shows the account only until the number is raised.
    Column("session_number", Integer, nullable=False, server_default="1"),
    Column("home", String(32)),  # The same random text in all accounts of one home.
    # Keyed hash of the operator's own reference; empty without one, NULL until `releve migrate` has looked for one.
    Column("reference", String(64)),
    Column("paused_until", Date),  # The day on which a paused account resumes; NULL: an operator resumes it.
    Index("ix_accounts_state_id", "state", "id"),  # For pages of active accounts, and counts by state.
    Index("ix_accounts_tenant_id", "tenant", "id"),  # For the pages of one tenant's accounts.
    Index("ix_accounts_reference", "reference", "id"),
    _partial("accounts_reason", ("reason", "id"), HAS_REASON),
    _partial("accounts_consent_until", ("consent_until", "id"), "consent_until IS NOT NULL"),
    _partial("accounts_paused_until", ("paused_until", "id"), "paused_until IS NOT NULL"),
)
USAGE_POINTS = _table(
    "usage_points",
    Column("account_id", sortable(32), ForeignKey("accounts.id"), primary_key=True),
    Column("supplier", String(32), nullable=False),  # Tells apart meters of electricity and gas with the same number.
    Column("usage_point_id", String(32), nullable=False),
    Column("direction", String(16), nullable=False),
    UniqueConstraint("usage_point_id", "supplier", "direction"),
)
# What a household or an operator tells about an account.
ACCOUNT_DETAILS = _table(
    "account_details",
    Column("account_id", sortable(32), ForeignKey("accounts.id"), primary_key=True),
    Column("kind", sortable(32), primary_key=True),  # What it is about, such as prices.
    Column("sealed", Text, nullable=False),  # JSON.
    Column("sealed_at", UtcDateTime, nullable=False),
)
TOKENS = _table(
    "tokens",
    Column("id", sortable(32), primary_key=True),
    Column("sealed", Text, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    # When the access token expires; NULL if unknown. Tokens are renewed before this time.
    Column("expires_at", UtcDateTime, index=True),
    Column("refreshing_since", UtcDateTime),  # Start of an unfinished renewal; else NULL.
    # When the last account stopped using the token, which now waits to be revoked at the supplier; else NULL.
    Column("revoke_since", UtcDateTime, index=True),
)
TOKEN_USERS = _table(
    "token_users",
    Column("account_id", sortable(32), ForeignKey("accounts.id"), primary_key=True),
    Column("token_id", sortable(32), ForeignKey("tokens.id"), nullable=False, index=True),
)
# A row for each series that is or was collected for an account (``series_switches.py``): when the series was last
# requested, when it is due next, and how its last run ended. The partial indexes have the order of the queries in
# ``due.py``. A query must repeat an index's condition word for word, or the server doesn't use the index. A look-back
# is a request for the latest days.
_R = "series_outcomes"
SERIES_OUTCOMES = _table(
    _R,
    Column("account_id", sortable(32), ForeignKey("accounts.id"), primary_key=True),
    Column("series", _word(Series, 32), primary_key=True),
    Column("switch", _word(SeriesSwitch, 8), nullable=False, server_default=SeriesSwitch.FLEET),
    Column("switch_before", _word(SeriesSwitch, 8)),  # Restored when a consent covers the series again.
    Column("collected", Boolean, nullable=False, server_default=true()),  # Follows the switch and RELEVE_SERIES.
    # Whether the series is collected and the account is active. The account's state is copied to this column, because a
    # query that joins the accounts would read all paused accounts too.
    Column("active", Boolean, nullable=False),
    Column("ask_until", Date),  # The last day of the consent, after which nothing is requested. NULL: no known end.
    # The nights from one look-back to the next: 1, or 7 for a load curve that the grid operator doesn't collect yet.
    Column("every", SmallInteger, nullable=False),
    Column("asked_at", UtcDateTime, nullable=False),  # When the last look-back ended; NEVER before the first one.
    Column("last_answer", _word(AnswerClass, 16)),  # The class of the last look-back's answer.
    Column("again_at", UtcDateTime),  # The next try after a failure; until then the row is not due.
    Column("failures", SmallInteger, nullable=False),  # How many look-backs in a row have failed.
    Column("history_due_at", UtcDateTime),  # When loading the history continues; NULL if all of it is loaded.
    Column("days", Text, nullable=False),  # The text of a DayLedger, some 20 bytes for a healthy meter.
    Column("answered", Text),  # The text of RecentAnswers, some 90 bytes.
    Column("next_ask", Date),  # When an open day (DayMark.open) is next requested; NULL: never.
    Column("last_complete", Date),
    Column("last_day", Date, nullable=False),  # The last civil day with a stored reading; NO_DAY without one.
    Column("run_id", sortable(64), nullable=False),  # Empty as long as no window has ended.
    Column("last_code", String(64)),
    Column("last_message", Text, nullable=False),
    Column("last_success_at", UtcDateTime),
    Column("ever_stored", Boolean, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False, index=True),  # Indexed to count recently requested accounts.
    *(
        _partial(f"{_R}_{name}", columns, condition)
        for name, columns, condition in (
            ("nightly", ("series", "every", "asked_at", "account_id", "again_at", "ask_until"), ACTIVE),
            ("catch_up", ("series", "last_day", "account_id"), ACTIVE),
            ("again", ("again_at",), f"{ACTIVE} AND again_at IS NOT NULL"),
            ("history", ("series", "history_due_at", "account_id"), f"{ACTIVE} AND history_due_at IS NOT NULL"),
            ("repair", ("next_ask", "account_id"), f"{ACTIVE} AND next_ask IS NOT NULL"),
            ("last_complete", ("series", "last_complete", "account_id"), ACTIVE),
            ("last_code", ("last_code", "account_id", "series", "switch", "updated_at"), "last_code IS NOT NULL"),
        )
    ),
)
# The evidence of consents: rows are appended and never changed. Each row has its own hash and the hash of the previous
# row. A consent is a row ``given``; its end is a row ``ended`` with the same consent_id. The meter and the reference
# are sealed in ``sealed_personal``, which an erasure deletes. The hashes must stay valid then, so they cover a keyed
# digest of this part, not the part itself. The key of the digest is in the part, so it is deleted, too.
CONSENT_EVIDENCE = _table(
    "consent_evidence",
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("event", _word(EvidenceEvent, 16), nullable=False),
    Column("consent_id", sortable(32), nullable=False),
    Column("account_id", sortable(32), ForeignKey("accounts.id"), nullable=False, index=True),
    Column("tenant", sortable(32), nullable=False),
    Column("supplier", String(32), nullable=False),
    Column("kind", _word(ConsentKind, 16), nullable=False),  # How the consent reached us.
    Column("proof", _word(Proof, 16), nullable=False),
    Column("actor", String(100)),  # The person who vouched or invited, or who ended the consent.
    Column("browser", String(64)),  # SHA-256 of the consenting browser's name, hexadecimal.
    Column("recorded_at", UtcDateTime, nullable=False),  # When the consent was given, or ended.
    Column("consent_from", Date),
    Column("consent_until", Date),
    Column("dates_from", _word(DatesSource, 16)),
    Column("line", String(200)),  # The supplier's endpoint whose answer proved the consent.
    Column("end_reason", String(64), nullable=False),
    Column("personal_digest", String(64), nullable=False),
    Column("sealed_personal", Text),  # A PersonalPart; NULL after an erasure, and in a row ``ended``.
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    UniqueConstraint("consent_id", "event"),
)
# The two ends of the chain of evidence, sealed, so that nobody can move them without the token keys. A transaction that
# appends evidence locks the row ``head``.
CONSENT_CHAIN = _table(
    "consent_chain",
    Column("name", sortable(8), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("sealed", Text, nullable=False),
)
# The consents recorded before there was evidence (migration 0004). Release 0.2.0 has moved them into the evidence; this
# table isn't used any more.
CONSENT_PROOFS = _table(
    "consent_proofs",
    Column("id", sortable(32), primary_key=True),
    Column("account_id", sortable(32), ForeignKey("accounts.id"), nullable=False, index=True),
    Column("supplier", String(32), nullable=False),
    Column("kind", _word(ConsentKind, 16), nullable=False),  # How the consent reached us.
    Column("reference", String(64)),  # The supplier's number of the consent, if it has one.
    Column("proof", _word(Proof, 16), nullable=False, server_default=Proof.NONE.value),
    Column("vouched_by", String(100)),  # The person who asserted the consent, or who invited its holder.
    Column("browser", String(64)),  # SHA-256 of the consenting browser's name, hexadecimal.
    Column("consented_at", UtcDateTime, nullable=False),
    Column("consent_from", Date),
    Column("consent_until", Date),
    # This is erased with the account: the rest of the row proves a consent without naming the meter.
    Column("sealed_usage_point", Text),
    Column("ended_at", UtcDateTime, index=True),
    Column("end_reason", String(64), nullable=False),
)
# The meters of erased accounts. Only a proof of consent that is newer than the erasure gives access to such a meter.
# The meters are stored as hashes; computing a hash needs the erasure keys.
ERASURES = _table(
    "erasures",
    Column("meter", String(64), primary_key=True),  # Keyed hash of supplier and meter, hexadecimal.
    Column("erased_at", UtcDateTime, nullable=False),
    # The row is deleted on this day: when the consent would have ended, at most three years after the erasure.
    Column("forget_on", Date, nullable=False, index=True),
    Column("tenant", String(32)),  # The tenant of the account; NULL if an older version erased it.
)
# A single row: the last known end of the file of erasures (``stores.erasure_ledger``).
LEDGER_END = _table(
    "ledger_end",
    Column("id", String(32), primary_key=True),
    Column("entries", Integer, nullable=False),
    Column("signature", String(64), nullable=False),  # The signature of the last line.
)
# The access rights that a supplier registers. The name, postcode and email that a person declares are stored in no
# table.
RIGHTS = _table(
    "rights",
    Column("id", sortable(32), primary_key=True),
    _tenant(),
    Column("supplier", String(32), nullable=False),
    # The account that the right has opened or renewed, or is to renew.
    Column("account_id", sortable(32), ForeignKey("accounts.id"), index=True),
    Column("meter", String(64), nullable=False, index=True),  # Keyed hash of supplier and meter, as in ``erasures``.
    Column("sealed", Text, nullable=False),  # JSON: the meter, the supplier's id of the right, the answer's digest.
    Column("sealed_at", UtcDateTime, nullable=False),
    Column("role", _word(RightRole, 16), nullable=False),
    Column("state", _word(RightState, 16), nullable=False),  # The state according to the supplier.
    Column("state_since", UtcDateTime, nullable=False),
    Column("opened_at", UtcDateTime),  # When the account got its consent from the right.
    Column("proof", _word(ProofState, 16)),
    Column("proof_until", Date),
    Column("first_day", Date),
    Column("last_day", Date),
    Column("vouched_by", String(100)),
    Column("invited_at", UtcDateTime),
    Column("for_new_holder", Boolean, nullable=False),  # Whether a person other than the account's holder is invited.
    Column("is_found", Boolean, nullable=False),  # Whether the right existed before its declaration here.
    Column("browser", String(64), index=True),  # SHA-256 of the name of the declaring browser, hexadecimal.
    Column("line", String(200)),  # The supplier's endpoint that registered the right.
    Column("begun_at", UtcDateTime),
    Column("declared_at", UtcDateTime),
    Column("checked_at", UtcDateTime),
    Column("withdraw_since", UtcDateTime, index=True),  # Since when the right waits to be withdrawn.
    Index("ix_rights_supplier_state", "supplier", "state", "id"),  # For the pages of rights to check.
)
INVITATIONS = _table(
    "invitations",
    Column("id", sortable(32), primary_key=True),
    _tenant(),
    Column("hash", String(64), nullable=False),  # SHA-256 of the secret, hexadecimal.
    Column("purpose", _word(InvitationPurpose, 16), nullable=False),
    Column("supplier", String(32), nullable=False),
    Column("account_id", sortable(32), ForeignKey("accounts.id"), index=True),
    Column("sealed_usage_point", Text),
    Column("created_by", String(100), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),  # Indexed to delete old invitations.
    Column("opened_at", UtcDateTime),
    Column("browser", String(64)),  # SHA-256 of the name of the browser that opened the invitation, hexadecimal.
    Column("used_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
)
PENDING_REFUSALS = _table(
    "pending_refusals",
    Column("account_id", sortable(32), ForeignKey("accounts.id"), primary_key=True),
    Column("code", String(64), primary_key=True),
    Column("first_seen", UtcDateTime, nullable=False),
    Column("last_seen", UtcDateTime, nullable=False),
    Column("times", Integer, nullable=False),  # Zero if the refusals turned out to be the supplier's fault.
    Index("ix_pending_refusals_code_last_seen", "code", "last_seen"),  # To count refused accounts by code.
)
NOTICES = _table(
    "notices",
    Column("id", sortable(32), primary_key=True),
    Column("key", sortable(160), nullable=False, unique=True),  # Only one notice is sent for each key.
    # NULL for a notice to the operator, about the fleet.
    Column("account_id", sortable(32), ForeignKey("accounts.id"), index=True),
    Column("kind", _word(NoticeKind, 32), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("about", String(64), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", UtcDateTime, nullable=False, index=True),
    Column("delivered_at", UtcDateTime),
    Column("last_error", String(200), nullable=False),
)
API_TOKENS = _table(
    "api_tokens",
    Column("id", sortable(32), primary_key=True),
    _tenant(),
    Column("name", String(100), nullable=False),
    Column("hash", String(64), nullable=False),  # SHA-256 of the secret, hexadecimal.
    Column("scopes", Text, nullable=False),  # Words separated by spaces.
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_used_at", UtcDateTime),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
)
# A person can prove that a meter is theirs by typing the reading on its display. These are the failed tries.
# ``meter``: the meter's keyed hash.
READING_TRIES = _table(
    "reading_tries",
    Column("meter", String(64), primary_key=True),
    Column("day", Date, nullable=False),  # The day of the last wrong try.
    Column("tries", SmallInteger, nullable=False),  # The wrong tries on that day.
    Column("wrong", Integer, nullable=False),  # All wrong tries.
)
# The applications that use the consent proxy, such as a Cozy stack.
PROXY_CLIENTS = _table(
    "proxy_clients",
    Column("id", sortable(32), primary_key=True),  # The client_id of OAuth.
    _tenant(),
    Column("name", String(100), nullable=False),
    Column("hash", String(64), nullable=False),  # SHA-256 of the secret, hexadecimal.
    Column("redirect_uris", Text, nullable=False),  # Exact addresses, separated by spaces.
    Column("pkce", Boolean, nullable=False),  # Whether each request must have a code challenge.
    # Whether the rules after 0.2.0 apply: the client must send its redirect address again with each code, and our
    # answers name their issuer (RFC 9207).
    Column("strict", Boolean, nullable=False, server_default=false()),
    Column("numbers_in_redirect", Boolean, nullable=False, server_default=true()),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
)
# Each row lets one client of the proxy read one meter until the grant ends.
PROXY_GRANTS = _table(
    "proxy_grants",
    Column("id", sortable(32), primary_key=True),
    Column("client_id", sortable(32), ForeignKey("proxy_clients.id"), nullable=False, index=True),
    Column("supplier", String(32), nullable=False),
    # Keyed hash of supplier and meter, as in ``erasures``; empty if unknown.
    Column("meter", String(64), nullable=False, index=True),
    Column("proof", _word(Proof, 16), nullable=False),
    Column("vouched_by", String(100)),
    Column("granted_at", UtcDateTime, nullable=False),
    Column("browser", String(64)),  # SHA-256 of the consenting browser's name, hexadecimal.
    Column("data_from", Date),  # The first day that may be read; before it, another person had the meter.
    Column("consent_until", Date),  # The last day on which data may be read.
    Column("access_hash", String(64), nullable=False),  # SHA-256 of the valid access token; empty for a v4 grant.
    Column("access_expires_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("end_reason", String(64), nullable=False),
    # SHA-256 of the code that was exchanged for the grant, together with the code's challenge. With v4, one code gives
    # a grant for each of the holder's meters. These grants share one token, and have the same hash.
    Column("code_hash", String(64), index=True),
    Column("last_used_on", Date),
)
# The refresh tokens of grants. With v4 of Enedis' API, these are the tokens that the supplier issued for the holder;
# otherwise we issue them. If a token that we issued is used a second time, its grant ends.
PROXY_REFRESH_TOKENS = _table(
    "proxy_refresh_tokens",
    Column("hash", String(64), primary_key=True),
    Column("grant_id", sortable(32), ForeignKey("proxy_grants.id"), nullable=False, index=True),
    Column("issued_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime),
)
# A household: the accounts that its browsers may see. An account is shown only if it is listed in ``sealed`` and also
# has a row in ``household_accounts``. Only the web application has the key of ``sealed``, so a row alone gives no
# access. The rows let any process find an account's households, and remove the account from one by deleting a row.
HOUSEHOLDS = _table(
    "households",
    Column("id", sortable(32), primary_key=True),
    Column("sealed", Text, nullable=False),  # JSON: each account's id, and its session number when it was added.
    Column("created_at", UtcDateTime, nullable=False),
)
HOUSEHOLD_ACCOUNTS = _table(
    "household_accounts",
    Column("household_id", sortable(32), ForeignKey("households.id"), primary_key=True),
    Column("account_id", sortable(32), ForeignKey("accounts.id"), primary_key=True, index=True),
)
# A household's mail address, to which a link to sign in may be sent. The table contains only confirmed addresses.
MAIL_ADDRESSES = _table(
    "mail_addresses",
    Column("household_id", sortable(32), ForeignKey("households.id"), primary_key=True),
    Column("hash", String(64), nullable=False, index=True),  # Keyed hash of the address, hexadecimal.
    Column("sealed", Text, nullable=False),
    Column("language", String(8), nullable=False),
    Column("confirmed_at", UtcDateTime, nullable=False),
    Column("sealed_month", Text),  # Since when the months' figures are mailed to the address; NULL if they aren't.
)
OPERATORS = _table(
    "operators",
    Column("id", sortable(32), primary_key=True),
    Column("name", sortable(32), nullable=False),
    Column("sealed", Text, nullable=False),  # JSON: the password's argon2id hash, the secret of the second factor.
    Column("created_at", UtcDateTime, nullable=False),
    Column("signed_in_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    # An operator's name may be given to another operator after ``ended_at`` is set.
    Index(
        "ix_operators_name",
        "name",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)
# Sessions, recovery codes and links (``domain.sessions``). The secret's hash, the kind, the owner and the expiry are
# sealed with a key that only the web application has. The unsealed columns serve only to list and delete rows.
ACCESS_KEYS = _table(
    "access_keys",
    Column("id", sortable(32), primary_key=True),
    Column("kind", String(16), nullable=False),  # The value of a KeyKind.
    Column("owner", sortable(32), nullable=False),  # The id of a household or of an operator.
    Column("sealed", Text, nullable=False),
    Column("device", String(100), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime, nullable=False, index=True),  # Indexed to delete expired keys.
    Column("expires_at", UtcDateTime),
    Index("ix_access_keys_owner", "owner", "kind"),
)
# Who did what to which account, when, from which address, and with which result. Rows are appended and never changed.
AUDIT_LOG = _table(
    "audit_log",
    Column("id", sortable(32), primary_key=True),  # Sorts by time: the time in µs, then random letters.
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("tenant", sortable(32)),  # NULL: the entry is about the whole installation, or its tenant is unknown.
    Column("actor_kind", String(16), nullable=False),  # The value of an ActorKind (``domain.audit_entry``).
    # The id of a session or token, or the name of an operator or of a user of this machine.
    Column("actor", String(100), nullable=False),
    Column("action", String(64), nullable=False),
    Column("account_id", sortable(32)),
    Column("subject", String(100)),  # A further object of the action, such as the id of a token.
    Column("address", String(64)),  # The IP address; NULL for commands.
    Column("outcome", String(64), nullable=False),  # ``ok``, or the code of the refusal.
    Index("ix_audit_log_account_id", "account_id", "at"),
)


# The audit log is append-only for every writer to the database: no row can be changed, and a row can be deleted only
# when it is older than AUDIT_KEPT. A new table gets these triggers when it is created, an older one by a migration. If
# the triggers change, or if SQLite rebuilds the table, a migration must create the triggers again.
_AUDIT_REFUSAL: Final = "audit_log is append-only"
_AUDIT_KEPT: Final = f"{AUDIT_KEPT.days} days"
_AUDIT_TRIGGERS: Final = {
    "sqlite": (
        f"""CREATE TRIGGER audit_log_unchanged BEFORE UPDATE ON audit_log
        BEGIN SELECT RAISE(ABORT, '{_AUDIT_REFUSAL}'); END""",
        f"""CREATE TRIGGER audit_log_kept BEFORE DELETE ON audit_log
        WHEN OLD.at > datetime('now', '-{_AUDIT_KEPT}')
        BEGIN SELECT RAISE(ABORT, '{_AUDIT_REFUSAL}'); END""",
    ),
    "postgresql": (
        f"""CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' THEN
                IF OLD.at <= now() - interval '{_AUDIT_KEPT}' THEN
                    RETURN OLD;
                END IF;
            END IF;
            RAISE EXCEPTION '{_AUDIT_REFUSAL}' USING ERRCODE = 'integrity_constraint_violation';
        END $$""",
        """CREATE TRIGGER audit_log_unchanged BEFORE UPDATE OR DELETE ON audit_log
        FOR EACH ROW EXECUTE FUNCTION refuse_audit_change()""",
        """CREATE TRIGGER audit_log_kept BEFORE TRUNCATE ON audit_log
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()""",
    ),
}


@event.listens_for(AUDIT_LOG, "after_create")
def _make_append_only(_table: Table, connection: Connection, **_: Any) -> None:
    for statement in _AUDIT_TRIGGERS[connection.dialect.name]:
        connection.exec_driver_sql(statement)


# The changes of stored readings; a reading that has changed several times has several rows.
READING_CHANGES = _table(
    "reading_changes",
    Column("account_id", sortable(32), ForeignKey("accounts.id"), primary_key=True),
    Column("doctype", _word(Doctype, 32), primary_key=True),
    Column("key", sortable(20), primary_key=True),
    # When the supplier sent the new value; indexed to delete old rows.
    Column("changed_at", UtcDateTime, primary_key=True, index=True),
    Column("became_amount", BigInteger, primary_key=True),
    Column("was_amount", BigInteger, nullable=False),
    Column("first_seen", UtcDateTime),  # When a value of this reading was first stored.
    Column("run_id", sortable(64), nullable=False),
)
# The changes recorded by 0.2.0; a change that happened twice has one row. Workers of 0.2.0 still write to this table
# while both versions run.
CORRECTIONS = _table(
    "corrections",
    Column("account_id", sortable(32), ForeignKey("accounts.id"), primary_key=True),
    Column("doctype", _word(Doctype, 32), primary_key=True),
    Column("key", sortable(20), primary_key=True),
    Column("was_amount", BigInteger, primary_key=True),  # Part of the key, so a repeated change adds no row.
    Column("became_amount", BigInteger, primary_key=True),
    Column("first_seen", UtcDateTime),  # When a value of this reading was first stored.
    # When the supplier sent the new value; indexed to delete old rows.
    Column("changed_at", UtcDateTime, nullable=False, index=True),
    Column("run_id", sortable(64), nullable=False),
)
FRESHNESS = _table(
    "freshness",
    Column("hour", UtcDateTime, primary_key=True),
    Column("series", _word(Series, 32), primary_key=True),
    Column("active", Integer, nullable=False),
    Column("complete", Integer, nullable=False),  # The active accounts whose readings of yesterday are complete.
)
RAW_ANSWERS = _table(
    "raw_answers",
    Column("id", sortable(32), primary_key=True),
    Column("account_id", sortable(32), ForeignKey("accounts.id"), nullable=False),
    Column("month", String(7), nullable=False),  # The UTC month of the request, for example "2024-07".
    Column("first_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False, index=True),  # Indexed to delete old rows.
    Column("packed", Boolean, nullable=False),  # Whether this row holds all answers of its month.
    Column("sealed", LargeBinary, nullable=False),  # Made by pack_raw_answers; it contains the meter's number.
    Index("ix_raw_answers_account_id", "account_id", "month"),
    Index("ix_raw_answers_packed", "packed", "month", "account_id"),  # To find the months to pack.
)
QUARANTINE = _table(
    "quarantine",
    Column("fingerprint", sortable(16), primary_key=True),
    Column("kind", _word(DeviationKind, 32), nullable=False),
    Column("place", String(200), nullable=False),
    Column("detail", String(64), nullable=False),
    Column("preset", String(32), nullable=False),
    Column("first_seen", UtcDateTime, nullable=False),
    Column("last_seen", UtcDateTime, nullable=False),
    Column("times", BigInteger, nullable=False),
    Column("sealed_sample", LargeBinary, nullable=False),  # Made by to_sample; it doesn't contain the meter's number.
)
POLICIES = _table(
    "policies",
    Column("since", Date, primary_key=True),  # The first night of the policy.
    Column("daily_every", Integer, nullable=False),
    Column("curve_every", Integer, nullable=False),
    Column("applied_at", UtcDateTime, nullable=False),
    Column("arithmetic", Text, nullable=False),  # The plan that led to this policy, as JSON.
)
# The outputs to which changed measures are sent; each is for all accounts of a tenant, or for one account.
OUTPUTS = _table(
    "outputs",
    Column("id", sortable(32), primary_key=True),
    _tenant(),
    Column("account_id", sortable(32), ForeignKey("accounts.id"), index=True),  # NULL: for all accounts of the tenant.
    Column("kind", String(32), nullable=False),
    Column("sealed", Text, nullable=False),  # JSON: the output's address, secret and further options.
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_sent_at", UtcDateTime),
    Column("tries", Integer, nullable=False),  # How many deliveries in a row have failed.
    Column("failing_since", UtcDateTime),
    Column("next_try_at", UtcDateTime),  # Nothing is sent before this time; NULL: no need to wait.
    Column("last_code", String(64), nullable=False),  # Empty if the last delivery succeeded.
    Column("last_error", String(200), nullable=False),
    Index("ix_outputs_tenant", "tenant"),
)
# The outbox of unsent changes: one row for each output, account and series, however often the readings change.
OUTPUT_CHANGES = _table(
    "output_changes",
    Column("output_id", sortable(32), ForeignKey("outputs.id"), primary_key=True),
    Column("account_id", sortable(32), ForeignKey("accounts.id"), primary_key=True, index=True),
    Column("series", _word(Series, 32), primary_key=True),
    Column("first_at", UtcDateTime, nullable=False),  # The start of the first reading that may have changed.
    Column("last_at", UtcDateTime, nullable=False),
    Column("writers", Integer, nullable=False),  # How many windows are still writing a change noted here.
    Column("number", BigInteger, nullable=False),  # Every change of the row gives it a new number.
    Column("since", UtcDateTime, nullable=False),  # Since when a change waits to be sent.
    # Deliveries are sorted by this time: ``since``, or the time of the last failure.
    Column("turn_at", UtcDateTime, nullable=False),
    # When a window last noted a change. If this is long ago, the window counts as killed.
    Column("noted_at", UtcDateTime, nullable=False),
    Index("ix_output_changes_output_id", "output_id", "turn_at", "account_id"),
)
# Readings that an output has yet to delete: they were sent to the output, and later removed from the measures.
OUTPUT_REMOVALS = _table(
    "output_removals",
    # CASCADE, because workers of another version remove an output without deleting these rows.
    Column("output_id", sortable(32), ForeignKey("outputs.id", ondelete="CASCADE"), primary_key=True),
    Column("account_id", sortable(32), ForeignKey("accounts.id"), primary_key=True, index=True),
    Column("series", _word(Series, 32), primary_key=True),
    Column("key", sortable(20), primary_key=True),
    Column("day", String(10)),  # The local day of a reading that the output can't delete; else NULL.
)
# The campaigns that ask households to consent again; they are written only by the operator and the web application.
CAMPAIGNS = _table(
    "campaigns",
    Column("id", sortable(32), primary_key=True),
    Column("created_by", String(100), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("choice", String(200), nullable=False),  # The options of the choice, without personal data.
    Column("per_day", Integer, nullable=False),
    Column("is_running", Boolean, nullable=False),
)
CAMPAIGN_RECIPIENTS = _table(
    "campaign_recipients",
    Column("id", sortable(32), primary_key=True),
    Column("campaign_id", sortable(32), ForeignKey("campaigns.id"), nullable=False),
    Column("account_id", sortable(32), ForeignKey("accounts.id"), nullable=False, index=True),
    Column("mail_id", sortable(32), nullable=False, index=True),  # The accounts of one address share a mail.
    Column("created_at", UtcDateTime, nullable=False),
    Column("household_id", String(32)),  # NULL: the address comes from the operator's list.
    Column("sealed_address", Text),  # The list's address, sealed with the session key; NULL after the answer.
    Column("state", _word(RecipientState, 20), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", UtcDateTime, nullable=False),
    Column("claimed_at", UtcDateTime),
    Column("mailed_at", UtcDateTime),
    Column("opened_at", UtcDateTime),
    Column("asked_at", UtcDateTime),
    Column("answered_at", UtcDateTime),
    Column("invitation_id", String(32), index=True),
    Column("last_error", String(200), nullable=False),
    Index("ix_campaign_recipients_campaign_id", "campaign_id", "state", "next_attempt_at"),
    Index("ix_campaign_recipients_claimed_at", "campaign_id", "claimed_at"),
)
# The tables from which the removal of an account deletes its rows. The account's token is deleted separately.
PERSONAL = (
    *(SERIES_OUTCOMES, USAGE_POINTS, ACCOUNT_DETAILS, READING_CHANGES, CORRECTIONS, RAW_ANSWERS),
    *(OUTPUT_REMOVALS, OUTPUT_CHANGES, OUTPUTS, CAMPAIGN_RECIPIENTS),
)
