"""All data of an account as one ZIP file, which is written while it is sent.

The file has, for people and in both languages, a text that says what each part is; each stored series, as a spreadsheet
in the reader's language and as JSON; and the account with its consents, its access rights and everything that was told
about it. It has no token, no hash, no name of an operator, and of the meter's number only the last digits.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from fastapi import APIRouter, Response

from worker.accounts.status import to_plain, to_row
from worker.domain.account import Account
from worker.domain.series import Doctype, grid_operator_of, periods_of, with_days
from worker.domain.windows import PARIS
from worker.stores.measures.stored_range import StoredRange, find_stored_range
from worker.texts import LANGUAGES, format_day, translate
from worker.web.api.callers import count_household
from worker.web.dependencies import OwnAccount, Visit, VisitDep
from worker.web.file_formats import check_days, stream_parts, write_parts
from worker.web.pages.files import first_days, json_file, spreadsheet

router = APIRouter()
Members = Iterable[tuple[str, Iterable[str]]]  # The name of each file in a ZIP file, and the parts of its text.


class _Unsent(io.RawIOBase):
    """Bytes of a ZIP file that were written, but not sent yet."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, some: Any) -> int:
        self._bytes += some
        return len(some)

    def take(self) -> bytes:
        taken, self._bytes = bytes(self._bytes), bytearray()
        return taken


@router.get("/accounts/{account_id}/everything")
def download_everything(visit: VisitDep, account: OwnAccount) -> Response:
    check = partial(count_household(visit).reload_account, visit.registry, visit.access, account.id)
    known = with_days(visit.registry.outcomes.known(account.id))
    doctypes = list(first_days(visit.stores.measures, account.id, known))
    today = visit.sync.history.today()

    def find_range(doctype: Doctype) -> StoredRange:
        return find_stored_range(visit.stores.measures, account.id, doctype, check_days(None, None, today))

    def write_members() -> Members:
        yield "README.txt", [_describe_files(visit, account, doctypes)]
        yield "account.json", [json.dumps(describe_account(visit, account), ensure_ascii=False, indent=2) + "\n"]
        for doctype in doctypes:
            stored = find_range(doctype)
            yield f"csv/{_name_of(doctype)}.csv", write_parts(stored, spreadsheet(visit, account, stored), check)
            content = json_file(account, doctype.series, doctype)
            yield f"json/{_name_of(doctype)}.json", write_parts(find_range(doctype), content, check)

    parts = write_zip(write_members(), visit.stores.now())
    return stream_parts(parts, account.id, f"releve-{account.id}-{today}.zip", "application/zip")


def write_zip(members: Members, at: datetime) -> Iterator[bytes]:
    """Yield a ZIP file part by part. ``at``: the time of all its files, which readers take for a local time."""
    unsent = _Unsent()
    with zipfile.ZipFile(unsent, "w") as archive:
        for name, texts in members:
            member = zipfile.ZipInfo(name, at.astimezone(PARIS).timetuple()[:6])
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w") as file:
                for text in texts:
                    file.write(text.encode())
                    yield unsent.take()
    yield unsent.take()


def describe_account(visit: Visit, account: Account) -> dict[str, Any]:
    """Return the account, its consents, rights and campaigns, the newest first, and what was told about it."""
    registry = visit.registry
    dates, ends = ("consent_from", "consent_until"), ("ended_at", "end_reason")
    consents = registry.consents.list_proofs(account.id)
    moments = ("created_at", "mailed_at", "opened_at", "asked_at", "answered_at")
    states = ("state", "state_since", "first_day", "last_day", "declared_at", "checked_at", "proof", "proof_until")
    return {
        "made_at": to_plain(visit.stores.now()),
        **to_row(account, "id", "supplier", "last_digits", "state", "reason", "created_at", *dates),
        "consents": [to_row(one, "kind", "proof", "consented_at", *dates, *ends) for one in consents],
        "rights": [to_row(one, *states) for one in registry.rights.of_account(account.id)],
        "campaigns": [
            to_row(one, "campaign_id", "source", "state", *moments)
            for one in registry.campaigns.list_of_account(account.id)
        ],
        "told": registry.account_details.load_all(account.id),
    }


def _describe_files(visit: Visit, account: Account, doctypes: Sequence[Doctype]) -> str:
    texts = []
    for language in LANGUAGES:
        facts = {"digits": account.last_digits or "…", "day": format_day(visit.sync.history.today(), language)}
        files = (f"- {_name_of(one)} \N{EN DASH} {_title_of(one, language)}" for one in doctypes)
        units = (f"download.units{end}" for end in ("", f".{grid_operator_of(account.supplier)}"))
        texts += [translate("everything.readme", language, **facts), "\n".join(files)]
        texts += [translate(key, language) for key in units]
    return "\n\n".join(texts) + "\n"


def _title_of(doctype: Doctype, language: str) -> str:
    if len(periods_of(doctype.series)) == 1:
        return translate(f"series.{doctype.series}.name", language)
    energy = translate(f"direction.{doctype.series.description.direction}", language)
    return f"{energy}, {translate(f'download.{doctype.period}', language).lower()}"


def _name_of(doctype: Doctype) -> str:
    return f"{doctype.series}-{doctype.period}"
