"""The regulator's files of prices: the copies that ship, and newer ones that were fetched or read from a folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final

from worker.accounts.prices import (
    Choice,
    changing_prices,
    iterate_choices,
    load_copies,
    note_changes,
    shipped_copies,
)
from worker.clients.endpoints import host_of
from worker.clients.published_files import NotFetched, fetch_text
from worker.domain.prices import Option, PricesRefused
from worker.domain.prices.choices import RegulatedChoice
from worker.domain.prices.regulated import FILES, PADDING, RegulatedTariff, changed_days, read_tariff
from worker.domain.windows import PARIS
from worker.logs import fields
from worker.stores.registry import Registry
from worker.stores.registry.public_files import PublicFile

log = logging.getLogger("releve.prices")
# Besides those of the settings: the regulator (CRE), and data.gouv.fr, which redirects to it.
HOSTS: Final = ("www.cre.fr", "www.data.gouv.fr", "static.data.gouv.fr")
_MAX_BYTES: Final = 2 * 1024**2
_LONGEST_KEPT: Final = 900_000  # As JSON: a backup refuses rows of more than 1 MB.
ReadCopy = Callable[[Option], PublicFile]


@dataclass(frozen=True, slots=True)
class FileUpdate:
    """What became of a file. ``copied_on``: the day of the copy in use, None if there is none.

    ``refused``: why a newer copy was not taken; empty if it was.
    """

    name: str
    copied_on: date | None
    new_rows: int = 0
    refused: str = ""


def update_files(registry: Registry, read_copy: ReadCopy, options: Iterable[Option] = Option) -> list[FileUpdate]:
    """Take a copy of each option's file, and return what became of it; a file that is refused changes nothing.

    ``read_copy`` may raise NotFetched and PricesRefused.
    """
    copies, updates = load_copies(registry), list[FileUpdate]()
    for option in options:
        name, before = FILES[option], copies.get(FILES[option])
        known = _read_known(before, option)
        rows_before = known.rows if known else 0
        try:
            copy = read_copy(option)
            text = copy.text.replace("\0", "")  # PostgreSQL stores none.
            tariff = read_tariff(text, option, copy.copied_on, rows_before)
            if before and copy.copied_on < before.copied_on:
                raise PricesRefused("it is older than the copy in use")
            kept = "".join(f"{line}\n" for line in text.splitlines() if line.strip(f"{PADDING};"))
            if len(json.dumps(kept)) > _LONGEST_KEPT:
                raise PricesRefused("it is too long to be kept")
        except (NotFetched, PricesRefused) as error:
            updates.append(FileUpdate(name, before.copied_on if before else None, refused=str(error)))
            facts = fields(file=name, reason=str(error), copied_on=updates[-1].copied_on)
            log.warning("prices not updated", extra=facts)
        else:
            _save(registry, option, PublicFile(name, kept, copy.copied_on), tariff)
            updates.append(FileUpdate(name, copy.copied_on, tariff.rows - rows_before))
    return updates


def take_shipped(registry: Registry) -> None:
    """Take the copies that ship with this version where they are newer, so that outputs learn what they change."""
    stored = registry.public_files.load_all()
    for option in Option:
        name, copy = FILES[option], shipped_copies().get(FILES[option])
        if copy and (name not in stored or stored[name].copied_on < copy.copied_on):
            _save(registry, option, copy, read_tariff(copy.text, option, copy.copied_on))


def _read_known(copy: PublicFile | None, option: Option) -> RegulatedTariff | None:
    """Return what a copy tells; None if another version has stored one that this version can't read."""
    with suppress(PricesRefused):
        return read_tariff(copy.text, option, copy.copied_on) if copy else None
    return None


def _save(registry: Registry, option: Option, copy: PublicFile, tariff: RegulatedTariff) -> None:
    """Save a copy, and note for outputs what it changes of the stored one, or else of the one that ships."""

    def is_changed(choice: Choice, day: date) -> bool:
        return isinstance(choice, RegulatedChoice) and choice.option is option and day in days.get(choice.power, ())

    with changing_prices(registry) as locked:
        before = locked.public_files.load_all().get(copy.name) or shipped_copies().get(copy.name)
        days: Mapping[int, Collection[date]] = changed_days(_read_known(before, option), tariff)
        locked.public_files.save(*copy)
        note_changes(locked, days.values(), is_changed)


def fetch_from(addresses: Mapping[Option, str], today: date) -> ReadCopy:
    """Return the function that fetches a file from its address."""
    hosts = {*HOSTS, *map(host_of, addresses.values())}
    return lambda option: PublicFile(FILES[option], fetch_text(addresses[option], hosts, _MAX_BYTES), today)


def read_from_folder(folder: Path, today: date) -> ReadCopy:
    """Return the function that reads a file in a folder; it was copied on the day of its last change."""

    def read_copy(option: Option) -> PublicFile:
        file = folder / FILES[option]
        if not file.is_file():
            raise PricesRefused("it is not in the folder")
        changed_on = datetime.fromtimestamp(file.stat().st_mtime, PARIS).date()
        if file.stat().st_size > _MAX_BYTES:
            raise PricesRefused(f"it has more than {_MAX_BYTES} bytes")
        return PublicFile(file.name, file.read_text("utf-8-sig", "replace"), min(changed_on, today))

    return read_copy


def uses_regulated(registry: Registry) -> bool:
    """Return whether an account, or a tenant by default, is on the regulated tariff."""
    choices = (one for each in iterate_choices(registry) for one in each.electricity)
    return any(isinstance(one, RegulatedChoice) for one in choices)
