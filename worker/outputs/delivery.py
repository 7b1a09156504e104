"""The delivery sends the changes in the outbox to the outputs, account by account, and retries after a failure.

A failing output stops neither the sync nor the other outputs. Its changes stay in the outbox, which has one row for
each account and series, however long the outage lasts. Only one worker at a time delivers to an output, so that an
account's changes arrive in order. If two workers deliver nevertheless, changes that are sent twice do no harm, because
values are read from the store when they are sent.

Deliveries run in their own threads. As tasks they would delay the sync, because a home's worker runs only one task at a
time.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Final

from worker import errors
from worker.domain.account import Account, AccountState
from worker.domain.clock import Clock
from worker.domain.documents import ALL_KEYS, key_of, start_of
from worker.domain.series import sources_of
from worker.domain.windows import ONE_DAY, PARIS, civil_date, local_midnight
from worker.logs import fields
from worker.metrics import OUTPUT_FAILURES, OUTPUT_SERIES
from worker.outputs.output import Change, Output, OutputAccount, OutputKind, OutputOptions, OutputParts, require_address
from worker.stores.redis.locks import Locks
from worker.stores.registry.accounts import AccountTable
from worker.stores.registry.outputs import (
    BEGINNING,
    END,
    KeptReadings,
    OutboxTable,
    OutputState,
    OutputTable,
    WaitingChange,
)

log = logging.getLogger("releve.outputs")
LONGEST_RUN_S: Final = 60.0  # The next run sends the rest.
NOTICE_AFTER: Final = timedelta(days=1)
_LOCK_S: Final = 30.0
_MOST_LOCKED_S: Final = 1800.0  # An account with many years of data may take long.
MOST_THREADS: Final = 4


@dataclass(frozen=True, kw_only=True)
class OutputDelivery:
    """Sends each output its changes from the outbox.

    ``notify``: called at each failure of an output that has been failing for a day or longer. ``name_of``: returns the
    name that an output shows for an account; empty for none. ``alert_of``: the same of its alert; None for none.
    """

    outputs: OutputTable
    outbox: OutboxTable
    accounts: AccountTable
    kinds: Mapping[str, OutputKind]
    parts: OutputParts
    locks: Locks
    now: Clock
    notify: Callable[[OutputState, datetime], object]
    name_of: Callable[[OutputState, str], str] = lambda output, account_id: ""
    alert_of: Callable[[OutputState, str], bool | None] = lambda output, account_id: None

    def build(self, kind: str, options: OutputOptions) -> Output:
        """Return an output. Raises OperatorFault, with one line of text, for an unknown kind or a wrong option."""
        if kind not in self.kinds:
            raise errors.OperatorFault(f"this version has no kind of output {kind}: {', '.join(self.kinds)}")
        try:
            require_address(options.url)
            return self.kinds[kind].build(options, self.parts)
        except ValueError as error:
            raise errors.OperatorFault(str(error)) from None

    def open(self, output_id: str) -> Output:
        """Return the output with this id. Raises UnknownOutput or OperatorFault."""
        state = self.outputs.get(output_id)
        return self.build(state.kind, OutputOptions(**self.outputs.load_options(output_id)))

    @contextmanager
    def paused(self, state: OutputState) -> Iterator[None]:
        """Hold back deliveries during the block, so that no delivery sends again what the block removes.

        Waits for a running delivery, but at most ``LONGEST_RUN_S``; then the block runs all the same. Holds nothing
        back if this kind of output can't remove sent data (``forget``).
        """
        kind = self.kinds.get(state.kind)
        with ExitStack() as held:
            if kind is not None and kind.forget is not None:
                with suppress(errors.StoreUnavailable):
                    held.enter_context(self._lock(state.id, wait_s=LONGEST_RUN_S))
            yield

    def _lock(self, output_id: str, wait_s: float) -> AbstractContextManager[None]:
        return self.locks.lock(f"output:{output_id}", _LOCK_S, wait_s=wait_s, most_s=_MOST_LOCKED_S)

    def forget(self, state: OutputState) -> bool:
        """Remove the data of an output's accounts from the receiver; return False if this kind of output can't do that.

        Raises OperatorFault, or NotDelivered if the receiver can't be reached.
        """
        kind = self.kinds.get(state.kind)
        if kind is None or kind.forget is None:
            return False
        of_tenant = self.accounts.iterate(tenant=state.tenant)
        accounts = [self.accounts.get(state.account_id)] if state.account_id else of_tenant
        options = OutputOptions(**self.outputs.load_options(state.id))
        kind.forget(options, self.parts, map(to_output_account, accounts))
        return True

    def deliver(self, output_id: str) -> int:
        """Send an output's waiting changes for at most a minute, and return the number of series sent.

        Sends nothing if another worker is delivering to this output, or if the next try isn't due yet. A failure is
        recorded with the time of the next try. Raises StoreUnavailable.
        """
        with ExitStack() as held:
            try:
                held.enter_context(self._lock(output_id, wait_s=0))
            except errors.StoreUnavailable:
                return 0
            try:
                state = self.outputs.get(output_id)
            except errors.UnknownOutput:
                return 0
            if not state.may_try(self.now()):
                return 0
            return self._deliver(state)

    def _deliver(self, state: OutputState) -> int:
        ends_at, sent = time.monotonic() + LONGEST_RUN_S, 0
        try:
            output = self.open(state.id)
        except errors.UnknownOutput:  # The output was removed a moment ago.
            return 0
        except errors.OperatorFault as error:
            self._record_failure(state, error, sent)
            return 0
        while time.monotonic() < ends_at and (waiting := self.outbox.next_changes(state.id)):
            try:
                number, kept = self._send(state, output, waiting)
            except errors.StoreUnavailable:
                raise  # One of our stores is down, so no output is to blame.
            except errors.UnknownOutput:
                return sent
            except Exception as error:  # noqa: BLE001 - a bug of one output stops neither the others nor this task
                self.outbox.put_last(waiting)
                self._record_failure(state, error, sent)
                return sent
            self.outbox.delete_sent(waiting, kept)
            sent += number
        if sent:
            self.outputs.record_sent(state.id, self.now())
            OUTPUT_SERIES.labels(state.kind).inc(sent)
            log.info("output sent", extra=fields(output=state.id, kind=state.kind, series=sent))
        return sent

    def _send(self, state: OutputState, output: Output, waiting: Sequence[WaitingChange]) -> tuple[int, KeptReadings]:
        """Send one account's waiting changes; return the number of series sent, and the readings that the output keeps.

        A kept reading was removed from our store, but the output can't delete it. For a removed account nothing is
        sent.
        """
        try:
            account = self.accounts.get(waiting[0].account_id)
        except errors.UnknownAccount:
            return 0, ()
        if account.state is AccountState.DELETED:
            return 0, ()
        name, alert = self.name_of(state, account.id), self.alert_of(state, account.id)
        named = replace(to_output_account(account), name=name, alert=alert)
        changes = [change for row in waiting if (change := self._to_change(named, row))]
        kept = output.send(changes) if changes else None
        return len(changes), kept or ()

    def _to_change(self, account: OutputAccount, row: WaitingChange) -> Change | None:
        """Return the change to send; None if the row stands for the whole series, but there is no reading of it.

        A row that begins at BEGINNING stands for the whole series. Its change begins at the oldest reading, which may
        be a removed one; that of daily values also at the oldest reading of which days are computed or priced. A row
        that ends at END stands for everything until now, as prices have changed.
        """
        repriced = row.last >= END
        starts, last = [row.first], (max(self.now(), row.first) if repriced else row.last).astimezone(PARIS)
        if row.first <= BEGINNING:
            doctypes = {series.inputs: ALL_KEYS for series in sources_of(row.series)}
            found = chain.from_iterable(self.parts.measures.read(account.id, doctypes, 1).values())
            starts = [start_of(key) for key in (*map(key_of, found), *row.removed[:1])]
        if not starts:
            return None
        return Change(account, row.series, min(starts).astimezone(PARIS), last, row.removed, repriced)

    def _record_failure(self, state: OutputState, error: Exception, sent: int) -> None:
        text, code = (str(error), error.code) if isinstance(error, errors.WorkerError) else ("", "")
        if not isinstance(error, errors.NotDelivered | errors.OperatorFault):
            # The error's own text is left out, because it may contain a secret or a reading.
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            text = f"unexpected {type(error).__name__} in {where}: please report this bug"
            code = errors.UnexpectedError.code
        OUTPUT_FAILURES.labels(state.kind).inc()
        with suppress(errors.UnknownOutput):
            now = self.now()
            after = self.outputs.record_failure(state.id, code or type(error).__name__, text, now, sent=sent > 0)
            extra = fields(output=state.id, kind=state.kind, tries=after.tries, reason=text)
            log.warning("output not reached", extra=extra)
            if after.failing_since is not None and now - after.failing_since >= NOTICE_AFTER:
                self.notify(after, now)

    def note_daily(self) -> int:
        """Enqueue all readings since yesterday for outputs of a ``daily`` kind; return the number of enqueued rows."""
        yesterday = local_midnight(civil_date(self.now()) - ONE_DAY)
        daily = {name for name, kind in self.kinds.items() if kind.daily}
        states = [state for state in self.outputs.list_outputs() if state.kind in daily]
        return sum(self.outbox.enqueue_all(state.id, yesterday) for state in states)


def to_output_account(account: Account) -> OutputAccount:
    return OutputAccount(id=account.id, label=account.id, consent_until=account.consent_until)


class DeliveryThreads:
    """The delivery threads of one process. Each thread delivers to one output after the other, until no output waits.

    At most ``most`` threads run at a time; the other outputs wait, and none is queued twice. The process may end while
    threads run, because undelivered changes stay in the outbox.
    """

    def __init__(self, deliver: Callable[[str], object], most: int = MOST_THREADS) -> None:
        self._deliver, self._most = deliver, most
        self._lock = threading.Lock()
        self._waiting: dict[str, None] = {}  # The ids of the queued outputs, longest-waiting first.
        self._running: set[str] = set()
        self._threads = 0

    def add(self, output_id: str) -> None:
        """Queue a delivery to the output, unless one is already queued or running."""
        with self._lock:
            if output_id in self._running:
                return
            self._waiting[output_id] = None
            if self._threads >= self._most:
                return
            self._threads += 1
            threading.Thread(target=self._run, name="delivery", daemon=True).start()

    def _run(self) -> None:
        while (output_id := self._take()) is not None:
            try:
                self._deliver(output_id)
            except errors.WorkerError as error:  # The next round tries again.
                log.warning("output not delivered", extra=fields(output=output_id, reason=str(error)))
            except Exception as error:  # noqa: BLE001 - a bug stops no other delivery; its text may hold a reading
                log.error("output not delivered", extra=fields(output=output_id, reason=type(error).__name__))
            finally:
                with self._lock:
                    self._running.discard(output_id)

    def _take(self) -> str | None:
        with self._lock:
            output_id = next(iter(self._waiting), None)
            if output_id is None:
                self._threads -= 1
                return None
            del self._waiting[output_id]
            self._running.add(output_id)
            return output_id
