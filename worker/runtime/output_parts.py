"""Builds the delivery to outputs. This is a separate module, because few processes need the outputs' libraries."""

from __future__ import annotations

from functools import partial

from worker.accounts.alerts import read_shown_alert
from worker.accounts.meter_names import load_shown_name
from worker.accounts.notices import notify_failing_output
from worker.accounts.prices import load_tariff
from worker.outputs.delivery import OutputDelivery
from worker.outputs.kinds import KINDS
from worker.outputs.output import OutputParts
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import build_channels
from worker.stores.redis.locks import Locks


def build_outputs(stores: Stores) -> OutputDelivery:
    registry = stores.registry
    return OutputDelivery(
        outputs=registry.outputs,
        outbox=registry.outbox,
        accounts=registry.accounts,
        kinds=KINDS,
        parts=OutputParts(
            measures=stores.measures,
            now=stores.now,
            tariff_of=lambda account_id: load_tariff(registry, stores.measures, registry.accounts.get(account_id)),
        ),
        locks=Locks(stores.redis),
        now=stores.now,
        name_of=partial(load_shown_name, registry),
        alert_of=partial(read_shown_alert, registry, stores.measures),
        notify=partial(notify_failing_output, registry.notices, build_channels(stores.settings, registry.tenants)),
    )
