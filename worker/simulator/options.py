"""Options that a simulator starts with; everything else is switched under ``/__sim__/`` while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

CLIENT_ID: Final = "releve-simulator"
CLIENT_SECRET: Final = "releve-simulator-secret"  # noqa: S105 - opens nothing but pretend homes


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """Options of a simulator.

    ``data_dir``: folder of recorded series.  ``pretend_homes``: every other meter is a pretend home generated from
    ``seed``, as it always is without recordings; else it is unknown.  ``pretend_now`` (zone-aware): start of the clock,
    None for the real time.  ``redirect_uri``: the callback registered at Enedis; with None the consent page takes the
    one in its query.  ``sandbox``: the last digit of ``state`` picks one of the nine test customers, and GRDF's test
    meters are known beside recordings.  ``consent_page``: ask in the browser, else agree at once.  ``client_id``: the
    one application it knows, None for any id and secret.  ``per_second``, ``per_hour``: quota of Enedis, None for no
    limit; that of gas is switched while it runs.  ``admin_token``: what opens ``/__sim__/``; with None it opens to this
    machine alone.
    """

    data_dir: Path | None = None
    pretend_homes: bool = False
    pretend_now: datetime | None = None
    client_id: str | None = CLIENT_ID
    client_secret: str = field(default=CLIENT_SECRET, repr=False)
    redirect_uri: str | None = None
    sandbox: bool = False
    consent_page: bool = False
    per_second: int | None = None
    per_hour: int | None = None
    seed: int = 1
    admin_token: str | None = field(default=None, repr=False)

    @property
    def invents_homes(self) -> bool:
        """Whether a number without a recording is a pretend home."""
        return self.pretend_homes or self.data_dir is None
