"""The table of invitations, which are created, opened by one browser, and then used once or revoked.

The text of a secret is ``invite_<id>_<secret>``, such as ``invite_k3q7d0fr2mxx_Zr0…`` (``SecretTexts``); only the
secret's hash is stored. The meter's number is sealed, so the invitations for a meter are found by unsealing all
numbers. These are few, because invitations live for 72 hours and old invitations are deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, case, delete, insert, null, select, update

from worker.domain.account import DEFAULT_TENANT
from worker.domain.invitation import (
    INVITATION_LIFE,
    TRANSITIONS,
    Invitation,
    InvitationEvent,
    InvitationPurpose,
    InvitationState,
)
from worker.errors import DataError, OperatorFault
from worker.stores.database import SealedTable, place_of
from worker.stores.encryption import SecretTexts
from worker.stores.registry import account_rows
from worker.stores.registry.tables import INVITATIONS, belongs_to

_TEXTS: Final = SecretTexts("invite")  # Our logs recognise the text by this prefix and mask it.
_PLAIN: Final = tuple(name for name in Invitation.__dataclass_fields__ if name != "usage_point_id")


class UnknownInvitation(DataError):
    """No invitation has this id; the message names the command that lists the ids."""


class InvitationTable(SealedTable):
    """The table of invitations.

    ``now`` is the real time even if the fleet's time is simulated, because a link must end after ``INVITATION_LIFE`` of
    real time. To avoid deadlocks, a transaction that also locks an account locks the account first.
    """

    def create(
        self,
        purpose: InvitationPurpose,
        supplier: str,
        created_by: str,
        *,
        account_id: str | None = None,
        usage_point_id: str | None = None,
        tenant: str = DEFAULT_TENANT,
    ) -> tuple[Invitation, str]:
        """Create an invitation; return it with its secret text, which can't be read again later.

        ``tenant`` counts only without an account: an invitation for an account belongs to the account's tenant. Older
        open invitations for the same account, or for the same meter and tenant, are revoked. Raises UnknownAccount for
        an account that is missing or removed.
        """
        invitation_id, secret_hash, text = _TEXTS.create()
        now = self._now()
        row: dict[str, Any] = {
            "id": invitation_id,
            "tenant": tenant,
            "purpose": purpose,
            "supplier": supplier,
            "account_id": account_id,
            "created_by": created_by,
            "created_at": now,
            "expires_at": now + INVITATION_LIFE,
        }
        sealed = None if usage_point_id is None else self._sealer.seal(usage_point_id, _place_of(invitation_id))
        is_open = _may_be(InvitationEvent.EXPIRED, now)
        # Unsealing many numbers takes a while. SQLite allows only one writer at a time, so this is done before writing.
        with self._database.reading() as connection:
            older = self._find_by_meter(connection, usage_point_id, is_open, *belongs_to(INVITATIONS, tenant))
        with self._database.writing() as connection:
            if account_id is not None:
                account_rows.lock(connection, account_id)
                row["tenant"] = account_rows.get(connection, account_id).tenant
            self._revoke_open(connection, older | _find_by_account(connection, account_id, is_open))
            connection.execute(insert(INVITATIONS).values(**row, hash=secret_hash, sealed_usage_point=sealed))
        return Invitation(**row, usage_point_id=usage_point_id), text

    def get(self, invitation_id: str) -> Invitation | None:
        """Return the invitation, whatever its state; None if there is none with this id.

        Raises OperatorFault if the key that sealed the meter's number is missing.
        """
        with self._database.reading() as connection:
            row = _get_row(connection, invitation_id)
        return None if row is None else self._to_invitation(row)

    def find(self, secret_text: str) -> Invitation | None:
        """Return the invitation with this secret, whatever its state; None if there is none.

        Raises OperatorFault like ``get``.
        """
        with self._database.reading() as connection:
            row = _find_row(connection, secret_text)
        return None if row is None else self._to_invitation(row)

    def open(self, secret_text: str, browser_hash: str, known_as: Collection[str] = ()) -> Invitation | None:
        """Bind the invitation to the first browser that opens it, and return it.

        The same browser may open the invitation again until the invitation is used. Returns None if the invitation is
        unknown, expired, revoked, used, or was opened by another browser. A browser's names are random texts in its
        cookie. ``browser_hash``: the SHA-256 of the name that the browser gets now. ``known_as``: the SHA-256 of each
        older name. Raises OperatorFault like ``get``.
        """
        now = self._now()
        with self._database.reading() as connection:  # A wrong secret must not cause a write to the registry.
            found = _find_row(connection, secret_text)
        if found is None:
            return None
        with self._database.writing() as connection:
            # Of two browsers, the second waits here for the first one's transaction, and then changes no row.
            is_it = (INVITATIONS.c.id == found.id, _state_at(now) == InvitationState.SENT)
            connection.execute(update(INVITATIONS).where(*is_it).values(opened_at=now, browser=browser_hash))
            row = _get_row(connection, found.id)
        invitation = None if row is None else self._to_invitation(row)
        return invitation if invitation and invitation.is_usable(now, (browser_hash, *known_as)) else None

    def find_opened(self, browsers: Collection[str], tenant: str | None = None) -> Invitation | None:
        """Return the newest invitation that a browser has opened but not used yet; None if there is none.

        ``browsers``: the hashes of the browser's names. ``tenant``: if given, only this tenant's invitations count.
        Raises OperatorFault like ``get``.
        """
        is_opened = _state_at(self._now()) == InvitationState.OPENED
        mine = (INVITATIONS.c.browser.in_(browsers), *belongs_to(INVITATIONS, tenant), is_opened)
        query = select(INVITATIONS).where(*mine).order_by(INVITATIONS.c.opened_at.desc(), INVITATIONS.c.id).limit(1)
        rows = self._database.fetch(query)
        return self._to_invitation(rows[0]) if rows else None

    def use(self, connection: Connection, invitation_id: str) -> bool:
        """Mark the invitation as used, inside the transaction that records the proof.

        Returns False if the invitation is unknown, or is already used, revoked or expired.
        """
        now = self._now()
        is_it = (INVITATIONS.c.id == invitation_id, _may_be(InvitationEvent.USED, now))
        return connection.execute(update(INVITATIONS).where(*is_it).values(used_at=now)).rowcount == 1

    def revoke(self, invitation_id: str, *, tenant: str | None = None) -> Invitation:
        """Revoke the invitation and delete its meter's number. An invitation that was used stays used.

        Safe to repeat: the time of the first revocation stays. Raises UnknownInvitation; if ``tenant`` is given, also
        for another tenant's invitation.
        """
        is_it = (INVITATIONS.c.id == invitation_id.replace("\x00", " "), *belongs_to(INVITATIONS, tenant))
        with self._database.writing() as connection:
            if connection.execute(select(INVITATIONS.c.id).where(*is_it)).first() is None:
                # The message doesn't repeat the id: a user may have passed the whole secret.
                raise UnknownInvitation("no invitation has this id: `releve consents --invitations` shows the ids")
            now = self._now()
            revoking = update(INVITATIONS).where(*is_it, _may_be(InvitationEvent.REVOKED, now))
            connection.execute(revoking.values(revoked_at=now, sealed_usage_point=null()))
            row = connection.execute(select(INVITATIONS).where(*is_it)).one()
        return self._to_invitation(row, needs_meter=False)

    def end_for(self, connection: Connection, account_id: str | None, usage_point_id: str | None) -> int:
        """Revoke the open invitations that name the account or the meter, and return how many were revoked.

        The meter's number is deleted from all invitations that name the account or the meter, even finished ones.
        ``connection``: the transaction that removes the account.
        """
        named = _find_by_account(connection, account_id) | self._find_by_meter(connection, usage_point_id)
        revoked = self._revoke_open(connection, named)
        for invitation_id in sorted(named):
            of_id = INVITATIONS.c.id == invitation_id
            connection.execute(update(INVITATIONS).where(of_id).values(sealed_usage_point=null()))
        return revoked

    def delete_before(self, moment: datetime) -> int:
        """Delete the invitations that expired before ``moment``, and return how many were deleted."""
        return self._database.change(delete(INVITATIONS).where(INVITATIONS.c.expires_at < moment))

    def _revoke_open(self, connection: Connection, ids: Iterable[str]) -> int:
        """Revoke the open ones among these invitations, and return how many were revoked.

        The meter's number is deleted from the invitations that are revoked.
        """
        now, revoked = self._now(), 0
        revoking = update(INVITATIONS).where(_may_be(InvitationEvent.EXPIRED, now))
        forgetting = revoking.values(revoked_at=now, sealed_usage_point=null())
        for invitation_id in sorted(ids):
            revoked += connection.execute(forgetting.where(INVITATIONS.c.id == invitation_id)).rowcount
        return revoked

    def _find_by_meter(
        self, connection: Connection, usage_point_id: str | None, *conditions: ColumnElement[bool]
    ) -> set[str]:
        """Return the ids of the invitations for a meter, and of invitations whose number no key can unseal."""
        if usage_point_id is None:
            return set()
        sealed = INVITATIONS.c.sealed_usage_point
        rows = connection.execute(select(INVITATIONS.c.id, sealed).where(sealed.is_not(None), *conditions)).all()
        return {row_id for row_id, seal in rows if self._may_name(row_id, seal, usage_point_id)}

    def _may_name(self, invitation_id: str, sealed: str, usage_point_id: str) -> bool:
        """Return whether the sealed number may be this meter's.

        True also if no key can unseal the number. Such an invitation may be revoked, because nobody can use it.
        """
        try:
            return self._sealer.unseal(sealed, _place_of(invitation_id)) == usage_point_id
        except OperatorFault:
            return True

    def _to_invitation(self, row: Row[Any], *, needs_meter: bool = True) -> Invitation:
        sealed, place = row.sealed_usage_point, _place_of(row.id)
        has_meter = sealed is not None and (needs_meter or self._sealer.can_unseal(sealed, place))
        facts = {name: getattr(row, name) for name in _PLAIN}
        return Invitation(**facts, usage_point_id=self._sealer.unseal(sealed, place) if has_meter else None)

    def page(
        self, after: str = "", limit: int = 100, *, open_only: bool = False, tenant: str | None = None
    ) -> list[Invitation]:
        """Return the next page of invitations by id, starting after the id ``after``; empty after the last page.

        A meter's number is left out if its key is missing.
        """
        query = self._query(open_only, tenant).where(INVITATIONS.c.id > after).order_by(INVITATIONS.c.id).limit(limit)
        return [self._to_invitation(row, needs_meter=False) for row in self._database.fetch(query)]

    def _query(self, open_only: bool, tenant: str | None) -> Select[Any]:
        is_open = (_may_be(InvitationEvent.EXPIRED, self._now()),) if open_only else ()
        return select(INVITATIONS).where(*is_open, *belongs_to(INVITATIONS, tenant))

    def list_invitations(
        self, open_only: bool = False, limit: int | None = None, *, tenant: str | None = None
    ) -> list[Invitation]:
        """Return the invitations of one tenant or of all, the newest first.

        A meter's number is left out if its key is missing.
        """
        query = self._query(open_only, tenant).order_by(INVITATIONS.c.created_at.desc(), INVITATIONS.c.id).limit(limit)
        return [self._to_invitation(row, needs_meter=False) for row in self._database.fetch(query)]


def _find_by_account(connection: Connection, account_id: str | None, *conditions: ColumnElement[bool]) -> set[str]:
    if account_id is None:
        return set()
    query = select(INVITATIONS.c.id).where(INVITATIONS.c.account_id == account_id, *conditions)
    return set(connection.execute(query).scalars())


def _place_of(invitation_id: str) -> str:
    return place_of(INVITATIONS.c.sealed_usage_point, invitation_id)


def _state_at(now: datetime) -> ColumnElement[str]:
    """Return an SQL expression for the state of an invitation at this time, like ``Invitation.state_at``."""
    columns = INVITATIONS.c
    return case(
        (columns.used_at.is_not(None), InvitationState.USED),
        (columns.revoked_at.is_not(None), InvitationState.REVOKED),
        (columns.expires_at <= now, InvitationState.EXPIRED),
        (columns.opened_at.is_not(None), InvitationState.OPENED),
        else_=InvitationState.SENT,
    )


def _may_be(event: InvitationEvent, now: datetime) -> ColumnElement[bool]:
    """Return the SQL condition for invitations to which an event can happen: for ``EXPIRED``, the open ones."""
    return _state_at(now).in_(TRANSITIONS.states_before(event))


def _get_row(connection: Connection, invitation_id: str) -> Row[Any] | None:
    return connection.execute(select(INVITATIONS).where(INVITATIONS.c.id == invitation_id)).one_or_none()


def _find_row(connection: Connection, secret_text: str) -> Row[Any] | None:
    if (invitation_id := _TEXTS.read_id(secret_text)) is None:
        return None
    row = _get_row(connection, invitation_id)
    return row if _TEXTS.matches(secret_text, row.hash if row else None) else None
