"""Evidence of consents on the command line: a changed row is named, and an export says whether the chain verifies."""

from __future__ import annotations

import json

from sqlalchemy import update

from tests.support.factories import NOW
from tests.support.installation import Installation
from tests.support.registries import METER, record_consent
from worker.domain.consents import ConsentKind
from worker.stores.registry.tables import CONSENT_EVIDENCE


def test_h6_one_changed_byte_is_named_by_the_check_and_the_export(installation: Installation) -> None:
    with installation.open() as parts:
        account = parts.stores.registry.accounts.add("enedis", METER, NOW, token_needed=False)[0].id
        record_consent(parts.stores.registry.consents, account, ConsentKind.AUTORISATION, NOW, reference="900001")
        assert installation.query("consents", "verify")["faults"] == []
        exported = json.loads(installation.releve("consents", "show", account).out)
        assert (exported["account"], exported["chain"]["verifies"]) == (account, True)
        (row,) = exported["rows"]
        assert (row["event"], row["meter"], row["reference"]) == ("given", METER, "900001")
        for actor, code in (("cli:eve", 1), (row["actor"], 0)):
            parts.stores.registry.database.change(update(CONSENT_EVIDENCE).values(actor=actor))
            checked = installation.releve("consents", "verify", code=code)
            changed = f"row {row['sequence']} was changed: it does not match its hash"
            assert (checked.out.splitlines()[0] == changed) is (code == 1)
            exported = json.loads(installation.releve("consents", "show", account).out)
            assert exported["chain"]["verifies"] is (code == 0)
