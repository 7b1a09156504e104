"""What a sweep over the rights finds."""

from __future__ import annotations

from tests.support.gas_homes import GAS, OTHER_PCE, PCE
from tests.support.parts import Parts
from tests.support.registries import NOW
from tests.support.right_register import RightRegister


def test_a_sweep_finds_for_each_account_the_right_that_was_given_elsewhere(
    parts: Parts, register: RightRegister
) -> None:
    homes = {
        meter: parts.stores.registry.accounts.add(GAS, meter, NOW, token_needed=False)[0] for meter in (PCE, OTHER_PCE)
    }
    granted = {meter: register.grant(meter) for meter in homes}
    assert parts.consent.right_sweep.run().checked == 2
    for meter, account in homes.items():
        assert [right.supplier_id for right in parts.stores.registry.rights.of_account(account.id)] == [
            granted[meter].id
        ]
