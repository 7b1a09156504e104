"""The chain of evidence, on a SQLite file and on PostgreSQL alike: whatever is changed in it is found and named."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Executable, delete, insert, select, text, update

from tests.support.profiles import examples
from tests.support.registries import (
    KEY,
    METER,
    NOW,
    add_ready,
    open_registry,
    record_consent,
    registry_sealer,
)
from worker.domain.account import AccountState
from worker.domain.consents import ConsentKind, ConsentProof, Proof
from worker.domain.evidence import ChainEnd, ChainPoint, DatesSource, hash_row
from worker.errors import OperatorFault, UnknownAccount
from worker.stores.encryption import generate_key
from worker.stores.registry import Registry
from worker.stores.registry.consents import ConsentTable, PendingRefusals
from worker.stores.registry.evidence import EvidenceCheck
from worker.stores.registry.key_rotation import CHAIN_SEALS, PROOF_SEALS, rotate_seals
from worker.stores.registry.tables import CONSENT_CHAIN, CONSENT_EVIDENCE

DAY = timedelta(days=1)
TODAY = NOW.date()
UNTIL = TODAY + 400 * DAY
WITHDRAWN = "USER_ACTION_NEEDED.OAUTH_OUTDATED"
few = settings(max_examples=examples(15, desk=5), suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass
class Book:
    """The evidence of a registry, with short words for what a test does to it."""

    registry: Registry
    keys: tuple[str, ...] = (KEY,)
    meters: Iterator[int] = field(default_factory=lambda: iter(range(30001640000011, 30001649999999)))

    def __post_init__(self) -> None:
        database, sealer = self.registry.database, registry_sealer(*self.keys)
        self.consents, self.evidence = ConsentTable(database, sealer), EvidenceCheck(database, sealer)
        self.pending = PendingRefusals(database, sealer)

    def add(self) -> str:
        return add_ready(self.registry, str(next(self.meters)))

    def give(self, account_id: str, reference: str = "900001", now: datetime = NOW, **told: Any) -> ConsentProof:
        told = {"consent_from": TODAY, "consent_until": UNTIL, "proof": Proof.INVITED, "browser": "b" * 64, **told}
        told |= {"line": "enedis-2026 POST /subscribed_services/v1", "answer_digest": "a" * 64}
        told |= {"dates_from": DatesSource.SUPPLIER, "vouched_by": "cli:ada"}
        return record_consent(self.consents, account_id, ConsentKind.AUTORISATION, now, reference=reference, **told)

    def erase(self, account_id: str, now: datetime = NOW, keep_days: int = 10_000) -> dict[str, int]:
        self.registry.accounts.remove(account_id, NOW)
        return self.consents.erase_after_removal(account_id, now, keep_days)

    def faults(self) -> list[str]:
        lines: list[str] = []
        summary = self.evidence.verify(lines.append)
        assert summary.faults == len(lines)
        return lines

    def rows(self) -> list[dict[str, Any]]:
        rows = self.registry.database.fetch(select(CONSENT_EVIDENCE).order_by(CONSENT_EVIDENCE.c.sequence))
        return [dict(row._mapping) for row in rows]

    def numbers(self) -> list[int]:
        return [row["sequence"] for row in self.rows()]

    def run(self, statement: Executable) -> None:
        """Change the tables as somebody does who can write to the database, but has no key."""
        with self.registry.database.writing() as connection:
            connection.execute(statement)

    def change(self, number: int, **columns: Any) -> None:
        self.run(update(CONSENT_EVIDENCE).where(CONSENT_EVIDENCE.c.sequence == number).values(**columns))

    def fill(self) -> tuple[str, str]:
        """Write five rows of two accounts: given, given, ended and given, ended."""
        first, second = self.add(), self.add()
        self.give(first)
        self.give(second)
        self.give(first, "900002")
        self.consents.withdraw(first, NOW + DAY)
        return first, second


@pytest.fixture
def book(registry: Registry) -> Book:
    return Book(registry)


# What a row holds


def test_h6_a_consent_is_a_row_and_its_end_another_each_with_the_hash_before_it(book: Book) -> None:
    account_id = book.add()
    proof = book.give(account_id)
    book.consents.withdraw(account_id, NOW + DAY, "token:of-a-service")
    given, ended = book.rows()
    assert (given["sequence"], given["event"], given["consent_id"]) == (1, "given", proof.id)
    assert (given["tenant"], given["supplier"], given["kind"], given["proof"]) == (
        "default",
        "enedis",
        ConsentKind.AUTORISATION,
        Proof.INVITED,
    )
    assert (given["actor"], given["browser"], given["recorded_at"]) == ("cli:ada", "b" * 64, NOW)
    assert (given["consent_from"], given["consent_until"], given["dates_from"]) == (TODAY, UNTIL, "supplier")
    assert given["line"] == "enedis-2026 POST /subscribed_services/v1"
    assert "a" * 64 not in str(given), "the digest of a short answer would tell its facts after an erasure"
    assert (ended["sequence"], ended["event"], ended["consent_id"]) == (2, "ended", proof.id)
    assert (ended["end_reason"], ended["actor"], ended["recorded_at"]) == ("withdrawn", "token:of-a-service", NOW + DAY)
    assert (given["previous_hash"], ended["previous_hash"]) == ("0" * 64, given["hash"])
    assert ended["sealed_personal"] is None and ended["personal_digest"] == ""
    assert book.faults() == []
    (read,) = book.consents.list_proofs(account_id)
    assert (read.id, read.ended_at, read.end_reason, read.reference) == (proof.id, NOW + DAY, "withdrawn", "900001")


def test_neither_meter_nor_reference_is_in_the_rows_and_equal_ones_have_other_digests(book: Book) -> None:
    account_id = book.add()
    meter = book.registry.accounts.get(account_id).usage_point_id
    book.give(account_id)
    book.give(account_id, now=NOW + DAY, consent_from=TODAY + DAY)
    first, _, second = book.rows()
    assert meter and meter not in str(book.rows()) and "900001" not in str(book.rows())
    assert first["personal_digest"] != second["personal_digest"]


def test_an_empty_chain_verifies(book: Book) -> None:
    lines: list[str] = []
    summary = book.evidence.verify(lines.append)
    assert (summary.rows, summary.head.sequence, summary.faults, lines) == (0, 0, 0, [])


def test_what_a_supplier_refused_by_mistake_goes_on_in_a_row_of_its_own(book: Book) -> None:
    account_id, other = book.add(), book.add()
    first = book.give(account_id)
    book.give(other)
    before = book.rows()[0]
    for refused in (account_id, other):
        book.pending.suspend(refused, WITHDRAWN, NOW, consent_ended=True, notices=list)
    book.give(other, "900002")  # Its holder has consented anew meanwhile.
    assert account_id in book.pending.reinstate(WITHDRAWN, NOW - DAY, NOW + DAY, "enedis")
    newest, oldest = book.consents.list_proofs(account_id)
    assert (oldest.id, oldest.end_reason, oldest.open) == (first.id, WITHDRAWN, False)
    assert newest.open and newest.id != first.id
    assert (newest.reference, newest.consent_until, newest.vouched_by) == ("900001", UNTIL, "supplier incident")
    after = book.rows()[-1]
    facts = ("kind", "proof", "browser", "consent_from", "consent_until", "dates_from", "line")
    assert {name: after[name] for name in facts} == {name: before[name] for name in facts}
    assert [proof.open for proof in book.consents.list_proofs(other)] == [True, False]
    assert book.faults() == []


def test_to_resume_an_account_writes_no_evidence_and_what_its_holder_has_stopped_is_not_resumed(book: Book) -> None:
    refused, stopped, bare = book.add(), book.add(), book.add()
    for account_id in (refused, stopped):
        book.give(account_id)
    for account_id in (refused, bare):
        book.pending.suspend(account_id, WITHDRAWN, NOW, consent_ended=True, notices=list)
    book.consents.withdraw(stopped, NOW)
    before = book.rows()
    with pytest.raises(ValueError, match="only a new consent") as caught:
        book.registry.accounts.set_state(stopped, AccountState.READY, now=NOW)
    assert "\n" not in str(caught.value)
    for account_id in (refused, bare):  # A refusal can be a mistake of the supplier, which is asked again.
        book.registry.accounts.set_state(account_id, AccountState.READY, now=NOW)
    assert book.rows() == before
    assert not book.consents.newest_proofs([refused])[refused].open


# Those who write at the same time


def test_appends_of_many_at_once_make_one_chain_without_gaps(book: Book) -> None:
    accounts = [book.add() for _ in range(6)]

    def work(number: int) -> None:
        account_id = accounts[number % 6]
        book.give(account_id, str(900_000 + number))
        if number % 5 == 0:
            book.pending.suspend(account_id, WITHDRAWN, NOW, consent_ended=True, notices=list)
            book.pending.reinstate(WITHDRAWN, NOW - DAY, NOW, "enedis")
        if number % 7 == 0:
            book.consents.expire_and_erase(NOW, TODAY, 10_000)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(30)))
    assert book.numbers() == list(range(1, len(book.rows()) + 1))
    assert book.faults() == []
    assert all(sum(proof.open for proof in book.consents.list_proofs(account_id)) == 1 for account_id in accounts)


def test_first_appends_of_two_processes_begin_one_chain(book: Book, url: str) -> None:
    accounts = [book.add() for _ in range(4)]
    registries = [open_registry(url) for _ in accounts]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda pair: Book(pair[0]).give(pair[1]), zip(registries, accounts, strict=True)))
    for registry in registries:
        registry.database.close()
    assert book.numbers() == [1, 2, 3, 4] and book.faults() == []


# What somebody changes who can write to the database


OTHER_VALUES: dict[str, Any] = {
    "event": "ended",
    "consent_id": "0" * 20,
    "tenant": "other",
    "supplier": "grdf",
    "kind": "code",
    "proof": "exchange",
    "actor": "cli:eve",
    "browser": "c" * 64,
    "recorded_at": NOW + timedelta(microseconds=1),
    "consent_from": TODAY - DAY,
    "consent_until": UNTIL + DAY,
    "dates_from": "requested",
    "line": "enedis-v4 POST /oauth2/v3/token",
    "end_reason": "x",
    "personal_digest": "e" * 64,
    "sealed_personal": None,
    "previous_hash": "f" * 64,
    "hash": "1" * 64,
}


def test_each_column_has_another_value_to_try() -> None:
    assert OTHER_VALUES.keys() | {"sequence", "account_id"} == {column.name for column in CONSENT_EVIDENCE.columns}


def test_a_changed_column_is_found_and_its_row_named(book: Book) -> None:
    book.fill()
    before, named = book.rows()[1], {}
    for column, value in OTHER_VALUES.items():
        book.change(2, **{column: value})
        named[column] = [fault[: len("row 2 was changed")] for fault in book.faults()]
        book.change(2, **{column: before[column]})
    assert named == {column: ["row 2 was changed"] for column in OTHER_VALUES}


def test_a_row_that_names_another_account_or_holds_no_value_of_its_column_is_named(book: Book) -> None:
    first, second = book.fill()
    book.change(2, account_id=first)
    book.run(text("UPDATE consent_evidence SET proof = 'none!' WHERE sequence = 4"))
    assert book.faults() == ["row 2 was changed: it does not match its hash", "row 4 was changed: it can't be read"]
    assert [row["sequence"] for row in book.evidence.export(first)] == [1, 2, 3, 5]
    assert book.evidence.export(second) == []


def test_a_personal_part_of_another_row_or_of_another_key_is_found(book: Book) -> None:
    book.fill()
    rows = book.rows()
    place = PROOF_SEALS.place_of(rows[0]["consent_id"])
    other = registry_sealer().unseal(rows[1]["sealed_personal"], PROOF_SEALS.place_of(rows[1]["consent_id"]))
    book.change(1, sealed_personal=registry_sealer().seal(other, place))
    book.change(2, sealed_personal=rows[0]["sealed_personal"])
    assert book.faults() == [
        "row 1 was changed: it has another personal part",
        "row 2 has a personal part that can't be decrypted: it was changed, or its key is missing",
    ]
    book.change(5, sealed_personal=rows[1]["sealed_personal"])
    assert "row 5 was changed: the end of a consent has no personal part" in book.faults()


def test_deleted_rows_are_missed(book: Book) -> None:
    book.fill()
    rows = book.rows()
    missed: dict[str, tuple[int, list[str]]] = {}
    for first, last in ((1, 1), (2, 3), (4, 5), (1, 5)):  # With the fifth row, the end is cut off.
        book.run(delete_rows(list(range(first, last + 1))))
        lines: list[str] = []
        missed[f"{first} to {last}"] = book.evidence.verify(lines.append).rows, lines
        book.run(insert(CONSENT_EVIDENCE).values(rows[first - 1 : last]))
    assert missed == {
        "1 to 1": (4, ["row 1 is missing"]),
        "2 to 3": (3, ["rows 2 to 3 are missing"]),
        "4 to 5": (3, ["rows 4 to 5 are missing"]),
        "1 to 5": (0, ["rows 1 to 5 are missing"]),
    }


def delete_rows(numbers: list[int]) -> Any:
    return delete(CONSENT_EVIDENCE).where(CONSENT_EVIDENCE.c.sequence.in_(numbers))


def test_inserted_rows_are_foreign(book: Book) -> None:
    book.fill()
    rows = book.rows()
    for number, before in ((0, None), (6, rows[-1])):
        row = {**rows[0], "sequence": number, "consent_id": f"foreign{number}"}
        row["previous_hash"] = before["hash"] if before else "0" * 64
        row["hash"] = hash_row(row)
        book.run(insert(CONSENT_EVIDENCE).values(**row))
    assert book.faults() == [
        "row 0 is foreign: the chain begins with row 1",
        "row 6 is foreign: the chain ends with row 5",
    ]


def rehash(book: Book, first: int) -> ChainPoint:
    """Give each row from ``first`` on the hashes that fit again, and return the last one."""
    rows = book.rows()
    before = rows[first - 2]["hash"] if first > 1 else "0" * 64
    for row in rows[first - 1 :]:
        row["previous_hash"] = before
        before = hash_row(row)
        book.change(row["sequence"], previous_hash=row["previous_hash"], hash=before)
    return ChainPoint(rows[-1]["sequence"], before)


def test_a_chain_that_was_hashed_anew_is_caught_by_the_sealed_head(book: Book) -> None:
    book.fill()
    book.change(2, consent_until=UNTIL + 400 * DAY)
    head = rehash(book, 2)
    assert book.faults() == ["row 5 was replaced: the encrypted head has another hash"]
    of_head = update(CONSENT_CHAIN).where(CONSENT_CHAIN.c.name == "head")
    book.run(of_head.values(hash=head.hash))
    assert book.faults() == [
        "the head was changed: it does not match its encrypted copy",
        "row 5 was replaced: the encrypted head has another hash",
    ]
    # The next append follows the seal, so it doesn't vouch for what was changed.
    book.give(book.add())
    assert book.faults() == ["row 5 was replaced: row 6 has another hash for it"]


def test_a_row_that_was_changed_and_hashed_anew_is_named_by_the_row_after_it(book: Book) -> None:
    book.fill()
    book.change(2, actor="cli:eve")
    book.change(2, hash=hash_row(book.rows()[1]))
    assert book.faults() == ["row 2 was replaced: row 3 has another hash for it"]


@pytest.mark.parametrize("end", [end.value for end in ChainEnd])
def test_the_ends_of_the_chain_are_missed_and_their_seals_fit_no_other(book: Book, end: str) -> None:
    book.fill()
    of_end = CONSENT_CHAIN.c.name == end
    other = book.registry.database.fetch(select(CONSENT_CHAIN.c.sealed).where(~of_end))[0].sealed
    changes = [{"sequence": 3}, {"hash": "2" * 64}]
    row = book.registry.database.fetch(select(CONSENT_CHAIN).where(of_end))[0]._asdict()
    for change in changes:
        book.run(update(CONSENT_CHAIN).where(of_end).values(**change))
        assert book.faults() == [f"the {end} was changed: it does not match its encrypted copy"]
        book.run(update(CONSENT_CHAIN).where(of_end).values(**row))
    book.run(update(CONSENT_CHAIN).where(of_end).values(sealed=other))
    assert book.faults() == [f"the {end} can't be decrypted: it was changed, or its key is missing"]
    book.run(delete(CONSENT_CHAIN).where(of_end))
    assert book.faults() == [f"the {end} is missing"]


def test_after_its_seal_was_spoilt_a_chain_says_for_good_where_it_began_anew(book: Book) -> None:
    book.fill()
    of_head = update(CONSENT_CHAIN).where(CONSENT_CHAIN.c.name == "head")
    book.run(of_head.values(sealed="spoilt"))
    book.give(book.add())
    assert book.faults() == ["row 6 begins a new chain: when it was written, the head could not be decrypted"]


# Erasure, and rows past their time


def test_an_erasure_deletes_the_personal_part_alone_and_the_chain_verifies(book: Book) -> None:
    first, second = book.fill()
    receipt = book.erase(first)
    assert (receipt["consent_proofs_erased"], receipt["consent_proofs_kept"]) == (0, 2)
    assert [row["sealed_personal"] is None for row in book.rows()] == [True, False, True, True, True]
    assert book.faults() == []
    exported = book.evidence.export(first)
    assert [(row["event"], row.get("personal"), row.get("meter")) for row in exported] == [
        ("given", "erased", None),
        ("ended", None, None),
        ("given", "erased", None),
        ("ended", None, None),
    ]
    (kept,) = book.evidence.export(second)
    assert (kept["personal"], kept["meter"], kept["reference"]) == (
        "kept",
        book.registry.accounts.get(second).usage_point_id,
        "900001",
    )
    book.change(1, consent_until=UNTIL + DAY)
    assert book.faults() == ["row 1 was changed: it does not match its hash"]


def test_with_no_days_the_personal_part_goes_at_once_and_the_rest_from_the_chains_beginning(book: Book) -> None:
    first, second = book.add(), book.add()
    book.give(first)
    book.give(second)
    receipt = book.erase(second, keep_days=0)
    assert (receipt["consent_proofs_erased"], receipt["consent_proofs_kept"]) == (0, 1), "an older row must stay"
    assert [row["sealed_personal"] is None for row in book.rows()] == [False, True, True]
    receipt = book.erase(first, NOW + DAY, keep_days=0)
    assert (receipt["consent_proofs_erased"], receipt["consent_proofs_kept"]) == (1, 0)
    assert book.rows() == [] and book.faults() == []
    book.give(book.add())
    assert book.numbers() == [5] and book.faults() == []
    book.change(5, previous_hash="0" * 64)
    assert book.faults() == ["row 5 was changed: it does not match its hash"]


def test_rows_go_from_the_beginning_and_the_anchor_tells_where_the_chain_goes_on(book: Book) -> None:
    first, _ = book.fill()
    assert book.consents.expire_and_erase(NOW + 9 * DAY, TODAY, 10) == (0, 0)
    assert book.consents.expire_and_erase(NOW + 10 * DAY, TODAY, 10) == (0, 1)
    assert book.numbers() == [2, 3, 4, 5], "the second account's consent is in force"
    assert [proof.reference for proof in book.consents.list_proofs(first)] == ["900002"]
    assert book.faults() == []
    book.run(delete_rows([2]))
    assert book.faults() == ["row 2 is missing"]


def test_an_anchor_can_not_be_moved_without_a_key(book: Book) -> None:
    book.fill()
    book.consents.expire_and_erase(NOW + 10 * DAY, TODAY, 10)
    rows = book.rows()
    book.run(delete_rows([2, 3]))
    moved = {"sequence": 3, "hash": rows[1]["hash"]}
    of_anchor = update(CONSENT_CHAIN).where(CONSENT_CHAIN.c.name == "anchor")
    book.run(of_anchor.values(**moved))
    assert book.faults() == ["the anchor was changed: it does not match its encrypted copy", "rows 2 to 3 are missing"]


def test_rows_that_several_drop_at_once_are_counted_once(book: Book) -> None:
    book.fill()
    with ThreadPoolExecutor(4) as threads:
        later = NOW + 10 * DAY
        dropped = list(threads.map(lambda _: book.consents.expire_and_erase(later, TODAY, 10), range(4)))
    assert sorted(dropped) == [(0, 0), (0, 0), (0, 0), (0, 1)] and book.faults() == []


def test_the_calendar_ends_each_expired_consent_once(book: Book) -> None:
    account_id = book.add()
    book.give(account_id, consent_until=TODAY)
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda _: book.consents.expire_and_erase(NOW + DAY, TODAY + DAY, 10), range(4)))
    assert sorted(done) == [(0, 0), (0, 0), (0, 0), (1, 0)]
    assert [(row["event"], row["actor"]) for row in book.rows()] == [("given", "cli:ada"), ("ended", "last day")]


# Keys


def test_a_rotation_seals_personal_parts_and_ends_anew_and_the_old_key_may_go(book: Book, url: str) -> None:
    first, second = book.fill()
    book.erase(first)
    new_key = generate_key()
    both = registry_sealer(new_key, KEY)
    assert rotate_seals(book.registry.database, both, PROOF_SEALS) == 1
    assert rotate_seals(book.registry.database, both, CHAIN_SEALS) == 2
    rotated = Book(book.registry, (new_key,))
    assert rotated.faults() == []
    assert rotated.consents.list_proofs(second)[0].reference == "900001"
    rotated.give(rotated.consents.list_proofs(second)[0].account_id, "900003")
    assert rotated.faults() == []
    assert len(book.faults()) == 4, "without the new key nobody can vouch for it"
    assert book.consents.list_proofs(second)[0].reference is None
    with pytest.raises(OperatorFault):
        rotate_seals(book.registry.database, registry_sealer(), PROOF_SEALS)


# A dispute


def test_an_export_names_the_meter_and_refuses_what_is_no_account_without_it(book: Book) -> None:
    account_id = book.add()
    proof = book.give(account_id)
    (row,) = book.evidence.export(account_id)
    stored = book.rows()[0]
    assert (row["consent_id"], row["hash"], row["previous_hash"]) == (proof.id, stored["hash"], "0" * 64)
    assert (row["meter"], row["reference"]) == (book.registry.accounts.get(account_id).usage_point_id, "900001")
    assert row["consent_until"] == UNTIL.isoformat() and "sealed_personal" not in row
    with pytest.raises(UnknownAccount) as caught:
        book.evidence.export(METER)
    assert METER not in str(caught.value)


# Any history


ACTS = st.tuples(st.sampled_from(["give", "end", "refuse", "erase", "expire"]), st.integers(0, 2))
# Where both rows of a consent are there, the database itself refuses another event.
COLUMNS = sorted(OTHER_VALUES.keys() - {"event"})


def live(book: Book, acts: list[tuple[str, int]]) -> None:
    accounts = [book.add() for _ in range(3)]
    for step, (act, place) in enumerate([("give", 0), *acts]):
        now, account_id = NOW + step * DAY, accounts[place]
        if act == "expire":
            book.consents.expire_and_erase(now, now.date(), place)
        elif act == "erase":
            book.erase(account_id, now, keep_days=3)
            accounts[place] = book.add()
        elif act == "give":
            book.give(account_id, str(step), now, consent_until=now.date() + 2 * DAY)
        elif act == "end":
            book.consents.withdraw(account_id, now)
        else:
            book.pending.suspend(account_id, WITHDRAWN, now, consent_ended=True, notices=list)
            book.pending.reinstate(WITHDRAWN, now, now + timedelta(hours=1), "enedis")


def test_any_history_verifies_and_any_single_change_of_it_is_found(book: Book) -> None:
    @few
    @given(st.lists(ACTS, max_size=8), st.sampled_from(COLUMNS), st.integers(0, 50), st.booleans())
    def holds(acts: list[tuple[str, int]], column: str, place: int, delete_it: bool) -> None:
        live(book, acts)
        assert book.faults() == []
        rows = book.rows()
        if not rows:
            return
        row = rows[place % len(rows)]
        number = row["sequence"]
        if delete_it:
            book.run(delete_rows([number]))
        elif row[column] == OTHER_VALUES[column]:
            return
        else:
            book.change(number, **{column: OTHER_VALUES[column]})
        assert [fault for fault in book.faults() if f"row {number} " in fault] != []
        if delete_it:
            book.run(insert(CONSENT_EVIDENCE).values(**row))
        else:
            book.change(number, **{column: row[column]})
        assert book.faults() == []

    holds()


def test_dates_are_hashed_as_days_and_moments_in_utc() -> None:
    row = {"day": date(2024, 7, 25), "at": NOW, "hash": "x", "sealed_personal": "y"}
    assert hash_row(row) == hash_row(
        {"at": NOW.astimezone(tz=None), "day": date(2024, 7, 25), "hash": "", "sealed_personal": None}
    )
    assert hash_row(row) != hash_row({**row, "at": NOW + timedelta(microseconds=1)})
