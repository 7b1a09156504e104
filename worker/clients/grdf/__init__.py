"""GRDF ADICT (gas) as a supplier."""

from __future__ import annotations

from typing import Final

from worker.clients.grdf import consent
from worker.clients.grdf.client import GrdfClient
from worker.clients.grdf.presets import ANSWER_SHAPES, LONGEST_LIST, PRESETS
from worker.clients.oauth import consent_page
from worker.clients.supplier import ConsentCalls, RightCalls, Supplier
from worker.domain.access_right import PCE

GRDF: Final = Supplier(
    name="grdf",
    presets=PRESETS,
    client=GrdfClient,
    shapes=ANSWER_SHAPES,
    consent=ConsentCalls(
        page=lambda endpoints, client_id, state, _, redirect_uri: consent_page(
            endpoints, client_id, state, redirect_uri, "openid"
        ),
        read_callback=consent.read_callback,
        meters_of_grant=consent.meters_of_grant,
        meter=PCE,
        sends_redirect=True,
    ),
    rights=RightCalls(
        declare=consent.declare_right,
        list_rights=consent.list_rights,
        withdraw=consent.withdraw_right,
        upload=consent.upload_proofs,
        longest_list=LONGEST_LIST,
        history_days=5 * 365 + 1,  # Published periods have the longest history.
    ),
)
