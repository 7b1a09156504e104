"""Where documents are kept: one small protocol, several stores, one contract suite.

A store serves one doctype.  ``_id`` is ``<account id>:<period key>``, so the same reading written
twice is a conflict that can be read, never two documents; ``_rev`` is the store's own text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from worker.domain.measures.readings import Period

Document = dict[str, Any]
KeyRange = tuple[str, str]  # first key, and the first key after it
Wanted = tuple[str, Mapping[Period, KeyRange]]  # an account, and what is asked of the doctypes of one series
ByPeriod = dict[Period, list[Document]]
Found = Callable[[], ByPeriod]  # called once, it gives the documents


class ConsumptionStore(Protocol):
    """The documents of one doctype.  All methods raise StoreUnavailable, ``write`` also WriteRefused."""

    def read(self, account_id: str, first_key: str, end_key: str, limit: int | None = None) -> list[Document]:
        """The account's documents with ``first_key <= key < end_key`` in key order, with ``_id`` and ``_rev``.

        With ``limit`` (1 or more) only the first so many, and no more than these are read.
        A doctype nobody has written to yet has no documents: no error.
        """
        ...

    def write(self, documents: Sequence[Document]) -> list[Document]:
        """Write; give back those that lost a race, to be decided anew.

        Without ``_rev`` a document is created, with it that very revision is replaced.  At most 500 go into
        one request (W1); every row's answer is checked (W2).  None twice with the same ``_id``.
        """
        ...

    def erase(self, account_id: str) -> int:
        """Forget all documents of the account; how many there were.  Safe to repeat."""
        ...

    def create_if_missing(self) -> bool:
        """Make the doctype's database or table ahead of the first writing; whether it was not there yet.

        For whoever sets a system up.  Without it the first writing does so.  Safe to repeat.
        """
        ...


Measures = Mapping[Period, ConsumptionStore]


@runtime_checkable
class Together(Protocol):
    """What Measures can do as well where a series' readings and totals are kept in the same documents."""

    def read_together(self, account_id: str, ranges: Mapping[Period, KeyRange]) -> ByPeriod:
        """As ``read`` of each doctype of one series, with a total and all it is made of from the same moment."""
        ...

    def write_together(self, documents: Mapping[Period, Sequence[Document]]) -> ByPeriod:
        """As ``write`` of each doctype of one series, of any accounts; gives back those not written, by doctype.

        A total and what it is made of are written both or neither: where a reading lost its race, the totals of
        the same day or year count as lost with it.
        """
        ...


@runtime_checkable
class AtOnce(Together, Protocol):
    """What Measures can do as well where one question may be asked for many accounts."""

    def read_at_once(self, wanted: Sequence[Wanted]) -> list[Found]:
        """As ``read_together`` of each, in their order, in as few requests as the store can do with (W1).

        All are asked for now; documents are made of the answer when each is called, for those of many accounts
        would weigh on the memory.  It may raise StoreUnavailable then, for itself alone.
        """
        ...
