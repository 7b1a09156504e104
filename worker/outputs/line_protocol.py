"""Time series over the line protocol: InfluxDB 1, 2 and 3, and VictoriaMetrics.

The options determine the kind of server, and so the path and the header with the credentials:

================================== ===================== ==========================================
options                            path                  credentials
================================== ===================== ==========================================
``bucket``, perhaps ``org``        ``/api/v2/write``     a token: InfluxDB 2
``database`` and a secret          ``/api/v3/write_lp``  a token: InfluxDB 3
``database`` and ``user``          ``/write``            a password: InfluxDB 1
``user``, no ``database``          ``/write``            a password: VictoriaMetrics behind a proxy
no secret, perhaps ``database``    ``/write``            none: VictoriaMetrics
================================== ===================== ==========================================

Stored measures become lines, with one measurement for each granularity:

    releve_day,account=k9xgwnz9gvp2,direction=consumption wh=10412.0 1729980000

A point's time is the start of its period, in seconds since 1970; a day begins at midnight in Europe/Paris. Days, months
and years have their own measurements, so that a sum over one measurement counts nothing twice. ``MEASUREMENTS`` lists
them all, for the documentation and the dashboard. All numbers are floats: a field keeps the type of its first value,
and a half-hour's energy may be 212.5 Wh.

An account with prices also has points of its costs, by tariff period. When prices change, these points are deleted from
the first changed day on, and sent again.

A point that is sent again replaces the previous one. Points of removed readings are deleted first; only InfluxDB 1 and
2 support this. A deletion covers a day's points from the first to the last removed reading. Readings in between that
still exist are sent again afterwards. Our errors leave out the server's message, because it may quote a line.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import chain, groupby, islice, product
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import requests
from urllib3.exceptions import HTTPError

from worker.accounts.prices import AccountTariff, read_costs, read_hours
from worker.clients.http_calls import BoundedHttp, open_session
from worker.domain import documents
from worker.domain.clock import Clock
from worker.domain.completeness import civil_day_of, interval_days
from worker.domain.documents import ALL_KEYS, Entry, key_of, key_range, period_key, start_of, to_entry
from worker.domain.prices.cost import EURO, ONE_HOUR, Cost, Key
from worker.domain.retry import retry_after_s
from worker.domain.series import Direction, Doctype, Granularity, Period, contract_series, intervals_of
from worker.domain.tariffs import day_energies, read_registers
from worker.domain.totals import count_names, to_peaks
from worker.domain.windows import ONE_DAY, DateWindow, civil_date, local_midnight, merge_windows, split_window
from worker.errors import AnswerTooLarge, NotDelivered, SupplierTooSlow
from worker.outputs.output import (
    Change,
    OutputAccount,
    OutputKind,
    OutputOptions,
    OutputParts,
    OutputRefused,
    TariffOf,
)
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.measures.stored_range import find_stored_range
from worker.stores.registry.outputs import KeptReadings

_PRICED: Final = (Granularity.DAY, Granularity.STEP, Granularity.REGISTER, Granularity.INTERVAL)
_SUBSCRIPTION: Final = "subscription"  # The tag ``period`` of what a day costs beside its energy.
_DAYS_PRICED_AT_ONCE: Final = 92
_IN_UTC: Final = (Period.MINUTE, Period.HOUR)
_ALL_REGISTERS: Final = "total"  # The tag ``period`` of a meter with only one register.
_SPECIAL: Final = re.compile(r"([,= ])")
_NOT_IN_A_TAG: Final = re.compile(r"[\x00-\x1f\x7f\\]+")
_MOST_LINES: Final = 5_000
_COMMENT: Final = "# Releve"  # A write without a point; the answer shows whether the credentials are right.
_DELETED: Final = (b'{"results":[{"statement_id":0}]}', b'{"results":[{}]}')


@dataclass(frozen=True, slots=True)
class WriteTarget:
    url: str = field(repr=False)
    parameters: Mapping[str, str]
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class LineProtocolOutput:
    """The output to a time series server. ``ca_file``: the certificates to trust instead of the system's."""

    target: WriteTarget
    measures: MeasureStore
    now: Clock
    tariff_of: TariffOf = lambda account_id: None
    ca_file: str | None = None
    most_lines: int = _MOST_LINES

    def check(self) -> str:
        with open_session(BoundedHttp(1024**2)) as session:
            answer = self._post(session, f"{_COMMENT}\n")
        if answer.status_code != requests.codes.bad_request:  # InfluxDB 2 answers 400 to a write without a point.
            self._require_success(answer)
        return "the server accepts data with these options"

    def send(self, changes: Sequence[Change]) -> KeptReadings:
        lines = chain.from_iterable(to_lines(change, self.measures) for change in changes)
        with open_session(BoundedHttp(1024**2)) as session:
            kept = [(change.series, key) for change in changes for key in self._delete_removed(session, change)]
            lines = chain(lines, self._renew_costs(session, changes))
            while batch := list(islice(lines, self.most_lines)):
                self._write(session, batch)
        return kept

    def _delete_removed(self, session: requests.Session, change: Change) -> list[str]:
        """Delete the points of removed readings, and of the totals removed with them.

        Returns the keys of the readings whose points the server doesn't delete; after the server's first refusal, no
        further deletion is sent.
        """
        kept: list[str] = []
        for _, of_day in groupby(change.removed, key=lambda key: civil_day_of(key, change.series)):
            starts = [*map(start_of, of_day)]
            gone = {doctype: self._gone(change, doctype, starts) for doctype in change.series.doctypes}
            if kept or not all(self._delete(session, change, doctype, keys) for doctype, keys in gone.items() if keys):
                kept += gone[change.series.inputs]
        return kept

    def _gone(self, change: Change, doctype: Doctype, starts: Sequence[datetime]) -> list[str]:
        """Return the keys of the periods that contain these instants, except periods that still have a stored value."""
        keys = sorted({period_key(start, doctype) for start in starts})
        stored = self.measures.read(change.account.id, {doctype: (keys[0], f"{keys[-1]} ")})[doctype]
        return sorted({*keys}.difference(map(key_of, stored)))

    def _delete(self, session: requests.Session, change: Change, doctype: Doctype, keys: Sequence[str]) -> bool:
        """Delete the points from the first to the last of these keys; return whether the server has deleted them."""
        measurement = energy_measurement(doctype)
        tags = _tag_values(change.account, change.series.description.direction, measurement)
        first, last = (_start(key, doctype) for key in (keys[0], keys[-1]))
        return self._delete_points(session, measurement, tags, first, last)

    def _delete_points(
        self,
        session: requests.Session,
        measurement: Measurement,
        tags: Mapping[str, str],
        first: datetime,
        last: datetime,
    ) -> bool:
        url = self.target.url.removesuffix("write")
        if url == self.target.url:
            return False  # A path that doesn't end in ``write`` is InfluxDB 3's, which deletes no points.
        since, until = (f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for at in (first, last + timedelta(seconds=1)))
        if "bucket" in self.target.parameters:
            where = " AND ".join(f'{name}="{tag}"' for name, tag in {"_measurement": measurement.name, **tags}.items())
            asked = json.dumps({"start": since, "stop": until, "predicate": where})
            answer = self._post(session, asked, f"{url}delete", "application/json")
        else:
            where = " AND ".join(f"{name} = '{tag}'" for name, tag in tags.items())
            # This can't inject anything: the tags are an account's id and a direction.
            query = f"DELETE FROM {measurement.name} WHERE {where} AND time >= '{since}' AND time < '{until}'"  # noqa: S608
            answer = self._post(session, urlencode({"q": query}), f"{url}query", "application/x-www-form-urlencoded")
        with suppress(OutputRefused):
            self._require_success(answer)
        # The status 200 proves no deletion: VictoriaMetrics answers 200 to anything that it takes for a query.
        return answer.status_code == requests.codes.no_content or answer.content.strip() in _DELETED

    def _renew_costs(self, session: requests.Session, changes: Sequence[Change]) -> Iterator[str]:
        """Yield the lines of all costs that changes touch, after deleting their points where some may have gone."""
        touching = [change for change in changes if change.series.description.granularity in _PRICED]
        tariff = self.tariff_of(touching[0].account.id) if touching else None
        if tariff and not tariff.is_readable:
            return
        tariff = tariff if tariff and tariff.is_set else None
        costed = [change for change in touching if tariff or change.repriced]
        days = [(change, _cost_days(change, self.measures, self.now())) for change in costed]
        for window in merge_windows(span for change, span in days if change.repriced or change.removed):
            first, last = local_midnight(window.start), local_midnight(window.end) - ONE_HOUR
            for measurement in (GAS_COST,) if costed[0].series.is_gas else (COST_HOUR, COST_DAY):
                self._delete_points(session, measurement, {"account": costed[0].account.label}, first, last)
        if tariff:
            for window in merge_windows(span for _, span in days):
                yield from to_cost_lines(costed[0].account, tariff, window, self.measures)

    def _write(self, session: requests.Session, lines: Sequence[str]) -> None:
        answer = self._post(session, "".join(f"{line}\n" for line in lines))
        if answer.status_code == requests.codes.request_entity_too_large and len(lines) > 1:
            middle = len(lines) // 2
            self._write(session, lines[:middle])
            self._write(session, lines[middle:])
            return
        self._require_success(answer)

    def _post(
        self, session: requests.Session, body: str, url: str = "", content_type: str = "text/plain; charset=utf-8"
    ) -> requests.Response:
        target = self.target
        try:
            return session.post(
                url or target.url,
                params=target.parameters,
                data=body.encode(),
                headers={"Content-Type": content_type, "User-Agent": "Releve", **target.headers},
                timeout=(5.0, 20.0),
                verify=self.ca_file or True,
                allow_redirects=False,  # A redirect could send the credentials to another host.
            )
        except requests.exceptions.SSLError:
            raise OutputRefused(
                "the server's certificate is not trusted: set the option ca_file to its authority's certificate"
            ) from None
        except (requests.RequestException, HTTPError, SupplierTooSlow, AnswerTooLarge) as error:
            # The text of the error may quote the address.
            raise NotDelivered(f"the server can't be reached: {type(error).__name__}") from None
        except OSError:
            raise OutputRefused("the file of the option ca_file can't be read") from None

    def _require_success(self, answer: requests.Response) -> None:
        status, text = answer.status_code, answer.content[:10_000].decode("utf-8", "replace")
        if 200 <= status < 300 or (400 <= status < 500 and "beyond retention policy" in text):
            return  # The server drops points older than its retention, and writes all others.
        if status == requests.codes.too_many_requests:
            raise NotDelivered("the server asks to wait", retry_after_s(answer.headers, self.now()))
        if (status >= 500 and status != requests.codes.not_implemented) or status == requests.codes.request_timeout:
            raise NotDelivered(f"the server answers with status {status}")
        raise OutputRefused(_advice(status, text))


def _advice(status: int, text: str) -> str:
    """Return what to do about a refusal, without the server's own text."""
    match status:
        case 401 | 403:
            return f"the server refuses the credentials, or they may not write (status {status})"
        case 404:
            return (
                "the server has no such database or bucket, or the options are for another kind of server (status 404)"
            )
        case 413:
            return "the server refuses even a single line as too large (status 413)"
        case _ if "field type conflict" in text:
            return "the measurements have fields of another type: give Relève its own database"
        case _ if 300 <= status < 400:
            return f"the server redirects (status {status}): give the final address"
        case _:
            return f"the server refuses the lines (status {status})"


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measurement: its name, the tags besides ``account``, its fields, and a description of one point."""

    name: str
    tags: tuple[str, ...]
    fields: tuple[str, ...]
    about: str


_MINUTES, _DAYS = count_names(Period.HOUR), count_names(Period.MONTH)
STEP: Final = Measurement("releve_step", ("direction",), ("wh", "w"), "one step of the curve, and its mean power")
HOUR: Final = Measurement("releve_hour", ("direction",), ("wh", *_MINUTES), "the known minutes of one hour")
DAY: Final = Measurement("releve_day", ("direction",), ("wh",), "one day")
MONTH: Final = Measurement("releve_month", ("direction",), ("wh", *_DAYS), "the known days of one month")
YEAR: Final = Measurement("releve_year", ("direction",), ("wh", *_DAYS), "the known days of one year")
MAX_POWER: Final = Measurement(
    "releve_max_power",
    ("direction",),
    ("va", "subscribed_va"),
    "the maximum power of one day, and the subscribed power then, where it is known",
)
REGISTER: Final = Measurement(
    "releve_register", ("direction", "period"), ("wh",), "what a register shows at the midnight that begins a day"
)
REGISTER_DAY: Final = Measurement(
    "releve_register_day", ("direction", "period"), ("wh",), "one day's energy in one tariff period"
)
GAS_DAY: Final = Measurement("releve_gas_day", (), ("kwh", "m3"), "one day of gas")
GAS_MONTH: Final = Measurement("releve_gas_month", (), ("kwh", *_DAYS), "the known days of one month of gas")
GAS_YEAR: Final = Measurement("releve_gas_year", (), ("kwh", *_DAYS), "the known days of one year of gas")
GAS_BILLED: Final = Measurement(
    "releve_gas_billed", (), ("kwh", "m3", "days"), "one billed period of gas, at its first day"
)
COST_HOUR: Final = Measurement(
    "releve_cost_hour", ("direction", "period"), ("wh", "eur"), "one hour's energy in one tariff period, and its cost"
)
COST_DAY: Final = Measurement(
    "releve_cost_day", ("direction", "period"), ("wh", "eur"), "one day's energy in one tariff period, and its cost"
)
GAS_COST: Final = Measurement(
    "releve_gas_cost",
    ("period",),
    ("kwh", "eur", "days"),
    "the cost of one day, or of one billed period at its first day",
)
_ENERGY: Final = {Period.MINUTE: STEP, Period.HOUR: HOUR, Period.DAY: DAY, Period.MONTH: MONTH, Period.YEAR: YEAR}
_GAS: Final = {Period.DAY: GAS_DAY, Period.MONTH: GAS_MONTH, Period.YEAR: GAS_YEAR}
MEASUREMENTS: Final = (
    *_ENERGY.values(),
    MAX_POWER,
    REGISTER,
    REGISTER_DAY,
    *_GAS.values(),
    GAS_BILLED,
    COST_HOUR,
    COST_DAY,
    GAS_COST,
)


def to_lines(change: Change, measures: MeasureStore) -> Iterator[str]:
    """Yield a line for each stored value of the changed part, and for each affected total.

    The lines are grouped by measurement, each group oldest first. Raises StoreUnavailable.
    """
    for doctype in change.series.doctypes:
        match doctype.series.description.granularity:
            case Granularity.REGISTER:
                yield from _register_lines(change, doctype, measures)
            case Granularity.INSTANT:
                yield from _peak_lines(change, doctype, measures)
            case Granularity.STATE:
                pass  # A contract has no lines of its own; its subscribed power is in the lines of the maximum power.
            case _:
                measurement = energy_measurement(doctype)
                tags = _tags(change, measurement)
                for entry in _changed_entries(change, doctype, measures):
                    yield _to_line(measurement, tags, _energy_fields(entry, doctype), _start(entry.key, doctype))


def energy_measurement(doctype: Doctype) -> Measurement:
    if doctype.series.has_intervals:
        return GAS_BILLED
    return (_GAS if doctype.series.is_gas else _ENERGY)[doctype.period]


def _changed_entries(change: Change, doctype: Doctype, measures: MeasureStore) -> Iterator[Entry]:
    """Yield the stored entries of all periods from the change's first instant to its last.

    In the entry of a total, ``details`` are its counts, such as the number of known days.
    """
    first, last = period_key(change.first, doctype), period_key(change.last, doctype)
    for document in find_stored_range(measures, change.account.id, doctype, _days(change)).iterate():
        entry, counts = to_entry(document), {name: document[name] for name in count_names(doctype.period)}
        if first <= entry.key <= last:
            yield entry._replace(details=counts or entry.details)


def _days(change: Change) -> DateWindow:
    return DateWindow(civil_date(change.first), civil_date(change.last) + ONE_DAY)


def _peak_lines(change: Change, doctype: Doctype, measures: MeasureStore) -> Iterator[str]:
    contract = contract_series(change.series.description.supplier).inputs
    contracts = [to_entry(one) for one in measures.read(change.account.id, {contract: ALL_KEYS})[contract]]
    for peak in to_peaks(_changed_entries(change, doctype, measures), contracts):
        fields = {"va": peak.amount / documents.MILLIWATT_HOURS_PER_WH}
        if peak.subscribed is not None:
            fields["subscribed_va"] = peak.subscribed / documents.MILLIWATT_HOURS_PER_WH
        yield _to_line(MAX_POWER, _tags(change, MAX_POWER), fields, local_midnight(peak.day))


def _register_lines(change: Change, doctype: Doctype, measures: MeasureStore) -> Iterator[str]:
    """Yield lines for the changed days' register readings, and for each day's energy computed from such a reading."""
    days = _days(change)
    read = DateWindow(days.start - ONE_DAY, days.end + ONE_DAY)
    stored = measures.read(change.account.id, {doctype: key_range(read, doctype)})[doctype]
    entries = [to_entry(document) for document in stored]
    tags = _tags(change, REGISTER)
    for entry in entries:
        if days.start <= (day := date.fromisoformat(entry.key)) < days.end:
            by_period = read_registers(entry) or {_ALL_REGISTERS: entry.amount // documents.MILLIWATT_HOURS_PER_WH}
            yield from _period_lines(REGISTER, tags, by_period, day)
    for energy in day_energies(entries):
        if read.start <= energy.day < days.end:
            yield from _period_lines(REGISTER_DAY, tags, energy.by_period or {_ALL_REGISTERS: energy.total}, energy.day)


def _period_lines(measurement: Measurement, tags: str, by_period: Mapping[str, int], day: date) -> Iterator[str]:
    at = local_midnight(day)
    for period, watt_hours in by_period.items():
        if name := _to_tag(period):
            yield _to_line(measurement, f"{tags},period={name}", {"wh": watt_hours}, at)


def _cost_days(change: Change, measures: MeasureStore, now: datetime) -> DateWindow:
    """Return the days whose cost a change may change."""
    days = _days(change)
    if not change.series.is_gas:
        # The registers of a midnight end the day before.
        is_register = change.series.description.granularity is Granularity.REGISTER
        return DateWindow(days.start - is_register * ONE_DAY, days.end)
    # What a billed period costs, its days share.
    doctype = intervals_of(change.series.description.supplier).inputs
    billed = [to_entry(one) for one in measures.read(change.account.id, {doctype: ALL_KEYS})[doctype]]
    starts = [span.start for span in map(interval_days, billed) if span.overlap(days)]
    return DateWindow(min([days.start, *starts]), max(days.end, civil_date(now) + ONE_DAY))


def to_cost_lines(
    account: OutputAccount, tariff: AccountTariff, window: DateWindow, measures: MeasureStore
) -> Iterator[str]:
    """Yield a line for each tariff period of the days of a window that have a price, and of their hours by the curve.

    A day's subscription has a line of its own. Raises StoreUnavailable.
    """
    for part in split_window(window, _DAYS_PRICED_AT_ONCE):
        is_gas = tariff.kind == "gas"
        days, paid = read_costs(measures, account.id, tariff, part)
        yield from _cost_lines(GAS_COST if is_gas else COST_DAY, account, days, paid)
        if not is_gas:
            yield from _cost_lines(COST_HOUR, account, *read_hours(measures, account.id, tariff, part))


def _cost_lines(
    measurement: Measurement, account: OutputAccount, costs: Mapping[Key, Cost], paid: Mapping[Key, Cost] | None
) -> Iterator[str]:
    unit = documents.MILLIWATT_HOURS_PER_KWH if measurement is GAS_COST else documents.MILLIWATT_HOURS_PER_WH
    directed = {Direction.CONSUMPTION: costs, Direction.PRODUCTION: paid or {}}
    for key, (direction, found) in product(sorted({*costs, *(paid or ())}), directed.items()):
        if key not in found:
            continue
        cost, tags = found[key], _join_tags(_tag_values(account, direction, measurement))
        lines: dict[str, dict[str, Any]] = {
            period: {measurement.fields[0]: cost.by_period[period] / unit, "eur": part / EURO}
            for period, part in cost.parts.items()
        }
        if cost.subscription and measurement is not COST_HOUR:
            lines[_SUBSCRIPTION] = {"eur": cost.subscription / EURO}
        for period, fields in lines.items():
            counts = {"days": cost.expected} if measurement is GAS_COST else {}
            yield _to_line(measurement, f"{tags},period={period}", fields | counts, start_of(str(key)))


def _energy_fields(entry: Entry, doctype: Doctype) -> dict[str, float]:
    details = entry.details or {}
    counts = {name: details[name] for name in count_names(doctype.period)}
    if doctype.series.is_gas:
        fields = {"kwh": entry.amount / documents.MILLIWATT_HOURS_PER_KWH, **counts}
        if "volume" in details:
            fields["m3"] = details["volume"]
        if doctype.series.has_intervals:
            fields["days"] = interval_days(entry).days
        return fields
    watt_hours = entry.amount / documents.MILLIWATT_HOURS_PER_WH
    if doctype.period is not Period.MINUTE:
        return {"wh": watt_hours, **counts}
    return {"wh": watt_hours, "w": watt_hours * 60 / (entry.step or documents.USUAL_STEP_MINUTES)}


def _start(key: str, doctype: Doctype) -> datetime:
    """Return the start of the period that a key names."""
    if doctype.period in _IN_UTC:
        return datetime.fromisoformat(key)
    return local_midnight(date.fromisoformat(f"{key}-01-01"[:10]))


def _tag_values(account: OutputAccount, direction: Direction, measurement: Measurement) -> dict[str, str]:
    values = {"account": account.label, "direction": direction}
    return {name: values[name] for name in ("account", *measurement.tags) if name in values}


def _join_tags(values: Mapping[str, str]) -> str:
    return ",".join(f"{name}={_to_tag(value)}" for name, value in values.items())


def _tags(change: Change, measurement: Measurement) -> str:
    return _join_tags(_tag_values(change.account, change.series.description.direction, measurement))


def _to_tag(text: str) -> str:
    """Return a text as the value of a tag; line breaks and backslashes, which can't be escaped, become spaces."""
    return _SPECIAL.sub(r"\\\1", _NOT_IN_A_TAG.sub(" ", text).strip())


def _to_line(measurement: Measurement, tags: str, fields: Mapping[str, float], at: datetime) -> str:
    values = ",".join(f"{name}={float(value)!r}" for name, value in fields.items())
    return f"{measurement.name},{tags} {values} {int(at.timestamp())}"


def to_target(options: OutputOptions) -> WriteTarget:
    """Return the target of these options. Raises ValueError, with a text of one line, if they are wrong."""
    parts = urlsplit(options.url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or parts.query or parts.fragment:
        raise ValueError("the address must look like https://HOST:8086, without parameters")
    if parts.username or parts.password:
        raise ValueError(
            "the address must not contain a user or password: give the option user, and the password as the secret"
        )
    url, more = options.url.rstrip("/"), options.more
    database, bucket, user = (more.get(name) for name in ("database", "bucket", "user"))
    if database and bucket:
        raise ValueError("InfluxDB 2 has a bucket, InfluxDB 1 and 3 a database: give only one of the two options")
    if options.secret and not user and not (options.secret.isascii() and options.secret.isprintable()):
        raise ValueError("a token must have printable ASCII characters only")
    if (bucket or user) and not options.secret:
        needs = "a bucket needs a token" if bucket else "the option user needs a password"
        raise ValueError(f"{needs} as the secret")
    if bucket:
        names = {"org": more["org"]} if more.get("org") else {}
        headers = {"Authorization": f"Token {options.secret}"}
        return WriteTarget(f"{url}/api/v2/write", {**names, "bucket": bucket, "precision": "s"}, headers)
    if user:
        names = {"db": database} if database else {}
        login = base64.b64encode(f"{user}:{options.secret}".encode()).decode()
        return WriteTarget(f"{url}/write", {**names, "precision": "s"}, {"Authorization": f"Basic {login}"})
    if database and options.secret:
        headers = {"Authorization": f"Bearer {options.secret}"}
        return WriteTarget(f"{url}/api/v3/write_lp", {"db": database, "precision": "second"}, headers)
    if options.secret:
        raise ValueError("a secret needs the option bucket, database or user")
    return WriteTarget(f"{url}/write", {**({"db": database} if database else {}), "precision": "s"})


def build(options: OutputOptions, parts: OutputParts) -> LineProtocolOutput:
    """Build the output of these options. Raises ValueError if they are wrong."""
    return LineProtocolOutput(
        target=to_target(options),
        measures=parts.measures,
        now=parts.now,
        tariff_of=parts.tariff_of,
        ca_file=options.more.get("ca_file"),
    )


KIND: Final = OutputKind(
    name="line-protocol",
    title="InfluxDB, VictoriaMetrics",
    url_help="such as https://influxdb.example:8086",
    secret="password or token; empty for none",  # noqa: S106 - what is asked for
    options={
        "bucket": "InfluxDB 2: the bucket",
        "org": "InfluxDB 2: the organization",
        "database": "InfluxDB 1 and 3: the database",
        "user": "InfluxDB 1, or a proxy in front of the server: the user of the password",
        "ca_file": "file with the certificate of the server's authority",
    },
    build=build,
)
