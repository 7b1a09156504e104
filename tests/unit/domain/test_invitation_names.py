"""Which names of a browser are the invited person's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from worker.domain.invitation import Invitation, InvitationPurpose

NOW = datetime(2024, 7, 25, tzinfo=UTC)


@pytest.mark.parametrize(
    ("purpose", "names"),
    [
        (InvitationPurpose.NEW_HOLDER, ["newest", "newer", "opened with"]),
        (InvitationPurpose.METER, ["newest", "newer", "opened with", "former holder's"]),
    ],
)
def test_a_new_holders_names_begin_with_that_by_which_the_invitation_was_opened(
    purpose: InvitationPurpose, names: list[str]
) -> None:
    invitation = Invitation("i", purpose, "enedis", "cli", NOW, NOW + timedelta(hours=72), browser="opened with")
    assert [*invitation.names_of_invited(["newest", "newer", "opened with", "former holder's"])] == names
    assert invitation.names_of_invited(["another"]) == (() if purpose is InvitationPurpose.NEW_HOLDER else ["another"])
