"""The consent of GRDF: the address of its page, the callback, and rights of access."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from worker.clients.endpoints import Endpoints
from worker.clients.enedis.consent import Callback
from worker.clients.oauth import Grant
from worker.clients.session import SupplierSession
from worker.domain.consent.rights import DeclaredRight, RightDeclaration, RightRecord

PCE: Final = re.compile(r"[0-9]{14}|GI[0-9]{6}")


def authorize_url(endpoints: Endpoints, client_id: str, state: str, redirect_uri: str) -> str:
    """Return the address of the consent page."""
    raise NotImplementedError


def read_callback(params: Mapping[str, str] | Iterable[tuple[str, str]]) -> Callback:
    """Read the query of a callback."""
    raise NotImplementedError


def meters_of_grant(grant: Grant, client_id: str) -> tuple[str, ...]:
    """Return the meters that a token answer names."""
    raise NotImplementedError


def declare_right(session: SupplierSession, declaration: RightDeclaration) -> DeclaredRight:
    """Declare a right."""
    raise NotImplementedError


def list_rights(session: SupplierSession, meters: Sequence[str]) -> list[RightRecord]:
    """Return the rights of these meters."""
    raise NotImplementedError


def withdraw_right(session: SupplierSession, right_id: str) -> None:
    """Withdraw a right."""
    raise NotImplementedError


def upload_proofs(session: SupplierSession, right_id: str, files: Sequence[tuple[str, bytes]]) -> None:
    """Send the proofs of a consent."""
    raise NotImplementedError
