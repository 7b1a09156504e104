"""Connection requests and access rights: workers call the supplier for them, never a web thread."""

from __future__ import annotations

from typing import Final

from celery import shared_task

from tasks.base import ControlTask
from tasks.nightly import backfill_account
from worker.domain.clock import real_clock
from worker.domain.lanes import request_lane
from worker.runtime import current

_PAGE: Final = 100


@shared_task(name="tasks.consent.conclude", base=ControlTask)
def conclude(request_id: str) -> None:
    """Advance a request by one step, with at most one supplier call, and start the histories of its new accounts."""
    request = current.consent().connector.conclude(request_id)
    for account in request.accounts if request else ():
        backfill_account.delay(account.id)


@shared_task(name="tasks.consent.conclude_due", base=ControlTask)
def conclude_due() -> None:
    """Publish the requests whose next attempt is due. Their browser may be closed, or their message lost."""
    requests = current.consent().requests
    requests.clean_held()
    for request_id in requests.list_due(real_clock(), _PAGE):
        request = requests.get(request_id)
        if request is None:
            requests.forget(request_id)
        else:
            conclude.apply_async((request_id,), queue=request_lane(vouched=request.vouched))


@shared_task(name="tasks.consent.check_rights", base=ControlTask)
def check_rights(pending_only: bool = False) -> None:
    """Ask the suppliers for the state of all rights, or only of rights whose holder hasn't answered yet.

    The histories of new accounts are started. Safe to repeat.
    """
    # Proofs still wait if the message of ``send_proofs`` was lost, or if the supplier didn't answer.
    if current.consent().proof_uploads.files.list_waiting():
        send_proofs.delay()
    for account_id in current.consent().right_sweep.run(pending_only=pending_only).opened:
        backfill_account.delay(account_id)


@shared_task(name="tasks.consent.send_proofs", base=ControlTask)
def send_proofs() -> None:
    """Send the supplier the proofs that were uploaded on the operator's page. Safe to repeat."""
    current.consent().proof_uploads.send_waiting()


@shared_task(name="tasks.consent.withdraw_rights", base=ControlTask)
def withdraw_rights() -> None:
    """Withdraw, at the supplier, the rights of households that have left. Safe to repeat."""
    from worker.accounts import gas_rights

    gas_rights.withdraw_rights(current.stores().registry.rights, current.sync().suppliers.clients_of)
