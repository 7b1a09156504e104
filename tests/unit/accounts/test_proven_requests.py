"""Whose invitation a request was begun with."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update

from tests.support.parts import Parts
from tests.support.registries import METER, NOW
from worker.accounts.opening import Invited, RequestEnded
from worker.domain.clock import real_clock
from worker.domain.connection_request import ConnectionRequest, ProvenMeters, RequestState
from worker.domain.consents import ConsentKind, Proof
from worker.domain.invitation import InvitationPurpose
from worker.stores.registry.tables import INVITATIONS

BROWSER, NEWER, STRANGER = "b" * 64, "n" * 64, "s" * 64


def test_an_invitation_is_of_the_browser_that_opened_it_until_it_is_revoked(parts: Parts) -> None:
    invitation, secret = parts.stores.registry.invitations.create(
        InvitationPurpose.METER, "enedis", "cli:test", usage_point_id=METER
    )
    request = ConnectionRequest(
        id="r1", supplier="enedis", browser=BROWSER, begun_on=NOW.date(), created_at=NOW, invitation_id=invitation.id
    )
    find = parts.consent.connector.outcomes.find_invited
    assert find(request) is None, "nobody has opened it"
    opened = parts.stores.registry.invitations.open(secret, BROWSER)
    assert opened is not None
    with_newer_name = replace(request, browser=NEWER, known_as=(BROWSER,))
    assert find(request) == find(with_newer_name) == Invited(opened, METER)
    stranger = replace(request, browser=STRANGER, known_as=(NEWER,))
    others = [stranger, replace(request, invitation_id=None), replace(request, invitation_id="unknown")]
    assert [find(other) for other in others] == [None, None, None]
    parts.stores.registry.invitations.revoke(invitation.id)
    assert find(request) is None


@pytest.mark.parametrize("moment", ["revoked_at", "expires_at"])
def test_an_invitation_that_ends_while_its_request_waits_counts_no_more_and_proves_nothing(
    parts: Parts, moment: str
) -> None:
    invitation, secret = parts.stores.registry.invitations.create(
        InvitationPurpose.METER, "enedis", "cli:test", usage_point_id=METER
    )
    assert parts.stores.registry.invitations.open(secret, BROWSER)
    request = ConnectionRequest(
        id="r1",
        supplier="enedis",
        browser=BROWSER,
        begun_on=NOW.date(),
        created_at=NOW,
        invitation_id=invitation.id,
        state=RequestState.CHOICE,
        new_holder=True,
        proven=ProvenMeters(Proof.INVITED, ConsentKind.USAGE_POINT, (METER,)),
    )
    parts.stores.registry.database.change(update(INVITATIONS).values({moment: real_clock()}))
    assert parts.consent.connector.outcomes.find_invited(request) is None
    with pytest.raises(RequestEnded, match="invitation_over"):
        parts.consent.connector.outcomes.conclude(request)
    assert parts.stores.registry.accounts.list_accounts() == []


def test_a_step_that_is_repeated_counts_its_new_accounts_once(parts: Parts) -> None:
    outcomes = parts.consent.connector.outcomes
    limited = replace(outcomes, limits=replace(outcomes.limits, by_browser=2))
    first, second, third = (
        ConnectionRequest(id=name, supplier="enedis", browser=BROWSER, begun_on=NOW.date(), created_at=NOW)
        for name in ("r1", "r2", "r3")
    )
    assert [limited.count_new_accounts(first, 1) for _ in range(3)] == [False] * 3
    assert [limited.count_new_accounts(second, 1) for _ in range(2)] == [False] * 2
    assert [limited.count_new_accounts(third, 1) for _ in range(2)] == [True] * 2
    assert not replace(limited, limits=replace(limited.limits, by_browser=3)).count_new_accounts(third, 1)
