"""Tenants: the services that share one Relève. Each has accounts, API tokens, invitations and a webhook of its own.

With one service only, everything belongs to the default tenant.
"""

from __future__ import annotations

import re
from typing import Final

DEFAULT_TENANT: Final = "default"
LONGEST_TITLE: Final = 100
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")


def check_tenant(name: str) -> str:
    """Return the name. Raises ValueError for one that can't be a tenant's."""
    if not _NAME.fullmatch(name):
        raise ValueError("a tenant's name has 1 to 32 of the characters a-z 0-9 - and begins with a letter")
    return name
