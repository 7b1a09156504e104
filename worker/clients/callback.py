"""The callback of a supplier's consent page, the same for all suppliers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

# In characters. Enedis returns a longer state cut, or not at all.
LONGEST_STATE: Final = 100
# A failure is shown and logged, so only words are accepted, and no ids.
_FAILURE: Final = re.compile(r"[a-z_-]{2,40}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Callback:
    """The callback of the consent page; ``failure`` is empty on success, else a short word to show.

    ``code``: exchanged for tokens in v4 of Enedis and for the meters at GRDF; ignored in v5.
    """

    state: str = field(repr=False)
    failure: str = ""
    usage_points: tuple[str, ...] = field(default=(), repr=False)
    autorisation_id: int | None = field(default=None, repr=False)
    code: str | None = field(default=None, repr=False)


def choose_failure(words: Iterable[str]) -> str:
    """Return the first of a supplier's words that may be shown, else ``refused``."""
    return next((word for word in words if _FAILURE.fullmatch(word)), "refused")
