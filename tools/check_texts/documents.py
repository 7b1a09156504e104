"""The examples on the page of documents are what is stored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tools.check_texts.project import Fault, Project
from worker.domain.documents import Entry, to_document
from worker.domain.series import Doctype

_NOW = datetime(2024, 10, 28, 7, 31, 2, tzinfo=UTC)
_REGISTERS = {"calendar": "FC000040", "registers": {"HC": 8_679_347, "HP": 12_978_248}}
_FED_IN = {"calendar": "DI000001", "registers": {"BASE": 8_665_587}}
_GAS = {
    "volume": 2.9,
    "coefficient": 11.42781,
    "index_start": 1204,
    "index_end": 1207,
    "quality": "measured",
    "status": "provisional",
}
_PUBLISHED_GAS = {
    "ends_on": "2024-11-01",
    "volume": 70,
    "coefficient": 11.28,
    "index_start": 1137,
    "index_end": 1207,
    "quality": "measured",
    "status": "final",
}
_GAS_CONTRACT = {"frequency": "1M", "transport_tariff": "T2", "activated_on": "2018-08-31"}
_CONTRACT = {
    "tariff": "BTINFMUDT",
    "off_peak_hours": "HC (22H00-6H00)",
    "activated_on": "2018-08-31",
    "meter_status": "com",
    "segment": "C5",
}
_ENTRIES = [
    (Doctype.MINUTE, Entry("2024-10-27T00:30Z", 206_000)),
    (Doctype.MINUTE, Entry("2024-10-27T01:30Z", 198_500)),
    (Doctype.MINUTE, Entry("2024-10-26T22:00Z", 70_000, step=10)),
    (Doctype.HOUR, Entry("2024-10-27T01:00Z", 404_550)),
    (Doctype.DAY, Entry("2024-10-27", 10_412_000)),
    (Doctype.MONTH, Entry("2024-10", 293_336_400)),
    (Doctype.YEAR, Entry("2024", 3_052_617_049)),
    (Doctype.PRODUCTION_MINUTE, Entry("2024-10-27T11:00Z", 612_000)),
    (Doctype.PRODUCTION_HOUR, Entry("2024-10-27T11:00Z", 1_190_500)),
    (Doctype.PRODUCTION_DAY, Entry("2024-10-27", 6_204_000)),
    (Doctype.PRODUCTION_MONTH, Entry("2024-10", 178_310_000)),
    (Doctype.PRODUCTION_YEAR, Entry("2024", 2_381_744_000)),
    (Doctype.MAX_POWER, Entry("2024-10-27", 4_638_000, details={"at": "2024-10-27T12:06:20+01:00"})),
    (Doctype.INDEX, Entry("2024-10-28", 21_657_595_000, details=_REGISTERS)),
    (Doctype.PRODUCTION_INDEX, Entry("2024-10-28", 8_665_587_000, details=_FED_IN)),
    (Doctype.CONTRACT, Entry("2024-10-27", 6_000_000, details=_CONTRACT)),
    (Doctype.GAS_DAY, Entry("2024-10-27", 33_000_000, details=_GAS)),
    (Doctype.GAS_MONTH, Entry("2024-10", 812_000_000)),
    (Doctype.GAS_YEAR, Entry("2024", 9_426_000_000)),
    (Doctype.GAS_PUBLISHED, Entry("2024-10-03", 790_000_000, details=_PUBLISHED_GAS)),
    (Doctype.GAS_CONTRACT, Entry("2024-10-27", 9_426_000_000, details=_GAS_CONTRACT)),
]


def examples(project: Project) -> Iterator[Fault]:
    page = project.page("docs/reference/documents.md")
    blocks = list(re.finditer(r"```json\n(.*?)```", page.text, re.DOTALL))
    stored: list[dict[str, Any]] = [to_document("k9xgwnz9gvp2", doctype, entry, _NOW) for doctype, entry in _ENTRIES]
    for number, document in enumerate(stored):
        if number == len(blocks):
            yield page.fault(page.text.rfind("```"), f"the example of {_ENTRIES[number][0].full_name} is missing here")
            return
        if json.loads(blocks[number][1]) != document:
            yield page.fault(blocks[number].start(), f"is stored as {json.dumps(document, ensure_ascii=False)}")
    if len(blocks) > len(stored):
        yield page.fault(
            blocks[len(stored)].start(), "this example is not in tools/check_texts/documents.py: add it there"
        )
    for doctype in set(Doctype) - {doctype for doctype, _ in _ENTRIES}:
        yield page.fault(
            0, f"has no example of {doctype.full_name}: add one here and in tools/check_texts/documents.py"
        )


CHECKS = (examples,)
