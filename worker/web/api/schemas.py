"""Schemas used only by the API (pydantic), and the descriptions of the API's errors for OpenAPI."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from worker.accounts.asserted_accounts import MAX_REFERENCE_LENGTH
from worker.accounts.invitations import InvitationSummary
from worker.accounts.notice_services import is_mail_address
from worker.accounts.status import EXAMPLE_ID, AccountSummary
from worker.domain.exports import detail_schema
from worker.domain.prices.energy import EnergySource
from worker.domain.series import Doctype, Period, Series, SeriesSwitch
from worker.web.dependencies import Day

AccountId = Annotated[
    str,
    Path(
        pattern=r"^[a-z][a-z0-9]{0,31}$",
        description="The account's id; never the meter's number.",
        examples=[EXAMPLE_ID],
    ),
]


class Problem(BaseModel):
    """The body of every refusal and failure (RFC 9457)."""

    type: str = Field(
        description="Where this code is explained.", examples=["https://releve.example.org/api/docs#unknown_account"]
    )
    title: str = Field(description="What the code means.", examples=["Unknown account"])
    status: int = Field(description="The HTTP status.", examples=[404])
    detail: str = Field(description="The same text as `message`.", examples=["no such account, or you may not see it"])
    error: str = Field(description="Code for programs; it does not change.", examples=["unknown_account"])
    message: str = Field(description="Text for people, one line.", examples=["no such account, or you may not see it"])


class AccountPage(BaseModel):
    accounts: list[AccountSummary] = Field(description="In the order of ids.")
    next: str | None = Field(
        description="Path of the next page, null after the last one.",
        examples=[f"/api/accounts?limit=100&after={EXAMPLE_ID}"],
    )


class NewAccount(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"usage_point": "12345678901234", "reference": "contract 4711", "consented_on": "2024-07-25"}]
        },
    )

    usage_point: str = Field(
        pattern=r"^[0-9]{14}$", description="The meter's 14-digit number (PDL, PRM); its holder has consented."
    )
    reference: str | None = Field(
        None,
        max_length=MAX_REFERENCE_LENGTH,
        description="Your own reference of the consent, kept as evidence; without the meter's number.",
    )
    consented_on: Day | None = Field(
        None,
        description="The day on which the holder consented: the account is `ready` at once. Without it the account is "
        "`new` until the supplier's first answer.",
    )


def _describe_search(schema: dict[str, Any]) -> None:
    """Say that exactly one field is given. The empty defaults aren't told, because they are no values of the fields."""
    examples = [{"usage_point": "12345678901234"}, {"pce": "GI123456"}, {"reference": "contract 4711"}]
    schema.update(examples=examples, minProperties=1, maxProperties=1)
    for field in schema["properties"].values():
        field.pop("default")


class AccountSearch(BaseModel):
    """Give exactly one of `usage_point`, `pce` and `reference`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_describe_search)

    # The fields aren't nullable, because a null field would count as a property, and the schema allows exactly one.
    usage_point: str = Field("", pattern=r"^[0-9]{14}$", description="An electricity meter (PDL, PRM).")
    pce: str = Field("", pattern=r"^([0-9]{14}|GI[0-9]{6})$", description="A gas meter (PCE).")
    reference: str = Field(
        "",
        min_length=1,
        max_length=MAX_REFERENCE_LENGTH,
        description="The reference with which you added an account; upper and lower case are the same.",
    )

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if sum(map(bool, (self.usage_point, self.pce, self.reference))) != 1:
            raise ValueError("give one of usage_point, pce and reference")
        return self


class SeriesChoices(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"series": {"max_power": "on", "load_curve": "off"}}]}
    )

    series: dict[Series, Literal["on", "off", "fleet"]] = Field(
        min_length=1, description="Switch of each series; `fleet`: follow RELEVE_SERIES, like all accounts."
    )


class SeriesSwitches(BaseModel):
    """The switches, without the times of requests: a client that may choose series may lack the scope to read times."""

    account: str = Field(examples=[EXAMPLE_ID])
    series: dict[Series, SeriesSwitch]


class NewInvitation(BaseModel):
    """Give exactly one of `account`, `usage_point` and `pce`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"account": EXAMPLE_ID}, {"usage_point": "12345678901234"}, {"pce": "GI123456"}]
        },
    )

    account: str | None = Field(None, pattern=r"^[a-z][a-z0-9]{0,31}$", description="The same person as before.")
    usage_point: str | None = Field(None, pattern=r"^[0-9]{14}$", description="The meter's 14-digit number (PDL, PRM).")
    pce: str | None = Field(
        None,
        pattern=r"^([0-9]{14}|GI[0-9]{6})$",
        description="The gas meter's number (PCE): 14 digits, or GI and 6 digits; where the service has gas.",
    )
    new_holder: bool = Field(
        False, description="With a meter: it has a new holder, whose account closes the present one."
    )
    mail: str | None = Field(
        None, max_length=254, description="Send the link to this address, in French and English; it is not stored."
    )

    @field_validator("mail")
    @classmethod
    def _check_mail(cls, mail: str | None) -> str | None:
        if mail is not None and not is_mail_address(mail):
            raise ValueError("a mail address looks like name@example.org")
        return mail

    @model_validator(mode="after")
    def _check_whom(self) -> Self:
        named = [whom for whom in (self.account, self.usage_point, self.pce) if whom is not None]
        if len(named) != 1:
            raise ValueError("give one of account, usage_point and pce")
        if self.new_holder and self.account is not None:
            raise ValueError("new_holder goes with usage_point or pce")
        return self


class InvitationPage(BaseModel):
    invitations: list[InvitationSummary] = Field(description="In the order of ids.")
    next: str | None = Field(description="Path of the next page, null after the last one.", examples=[None])


class AuditRow(BaseModel):
    """One entry of the audit trail: who did what, from where, and whether it succeeded."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="Sorts by time.", examples=["0064f0b1a3c2d81f3a9c0b7e5d"])
    at: datetime
    actor_kind: str = Field(
        description="Kind of actor: household, operator, token, client, command or visitor.", examples=["token"]
    )
    actor: str = Field(
        description="The id of a session, token or client; the name of an operator or user. Empty for a visitor.",
        examples=["k3q7d0fr2mxx"],
    )
    action: str = Field(examples=["account.erase"])
    account: str | None = Field(validation_alias="account_id", examples=[EXAMPLE_ID])
    subject: str | None = Field(description="Other target, such as the id of an invitation.", examples=[None])
    address: str | None = Field(
        description="Origin: an IPv4 address or an IPv6 network; null for a command.", examples=["192.0.2.7"]
    )
    outcome: str = Field(description="`ok`, or the code of the refusal or failure.", examples=["ok"])


class AuditPage(BaseModel):
    entries: list[AuditRow] = Field(description="The newest first.")
    next: str | None = Field(description="Path of the next page, null after the last one.", examples=[None])


class Receipt(BaseModel):
    """How much the erasure of an account has removed, by kind; zeros if the account was erased before."""

    account: str = Field(examples=[EXAMPLE_ID])
    erased: dict[str, int] = Field(examples=[{"documents": 3152, "usage_points": 1, "tokens": 0, "state_keys": 6}])


def _describe_details(schema: dict[str, Any]) -> None:
    """Add to the schema of a document the fields that exist only for some doctypes."""
    for detail in (detail for doctype in Doctype for detail in doctype.details):
        schema["properties"].setdefault(detail.name, detail_schema(detail))


class Measure(BaseModel):
    """A stored document. `fold` is 1 in the second pass of the hour that is repeated in autumn, and absent elsewhere.

    The fields after `fold` exist only for some series; `GET /api/schemas` lists the doctypes and their fields.
    """

    model_config = ConfigDict(json_schema_extra=_describe_details)

    load: float = Field(description="In kWh; for maximum power and the electricity contract in kVA.", examples=[0.312])
    year: int = Field(examples=[2024])
    month: int = Field(examples=[7])
    day: int = Field(description="0 in documents by month and by year.", examples=[24])
    hour: int
    minute: int
    fold: int | None = Field(None)
    va: int | None = Field(None, description="`load` in VA, if it is in kVA.")
    computed: bool | None = Field(None, description="True of a day that is the sum of its load curve.")
    days: int | None = Field(None, description="Of a month or year: its known days, of which `load` is the sum.")
    expected_days: int | None = Field(None, description="Of a month or year: all its days, those to come included.")
    minutes: int | None = Field(None, description="Of an hour: the minutes of the steps that begin in it.")
    expected_minutes: int | None = Field(None, description="Of an hour: 60.")


class MeasurePage(BaseModel):
    account: str = Field(examples=[EXAMPLE_ID])
    series: Series
    by: Period
    doctype: str = Field(examples=["com.grandlyon.enedis.hour"])
    unit: str = Field(description="Unit of `load`.", examples=["kWh"])
    documents: list[Measure] = Field(description="In time order. A period without a reading has no document.")
    next: str | None = Field(description="Path of the next page, null after the last one.", examples=[None])


class PeriodCost(BaseModel):
    name: str = Field(description="Tariff period; `price` for gas.", examples=["hp"])
    kwh: str = Field(examples=["104.250"])
    eur: str = Field(examples=["21.53"])


class CostRow(BaseModel):
    """What the energy of a period costs, in euros with all taxes; amounts are texts. Null: nothing is known or priced.

    Rows by hour have `minutes` and `expected_minutes`, others `days` and `expected_days`.
    """

    start: str = Field(description="A day, or an hour with its offset.", examples=["2024-07-01"])
    end: str = Field(description="Excluded.", examples=["2024-08-01"])
    periods: list[PeriodCost] = Field(description="Those with energy.")
    energy_eur: str | None = Field(description="The sum of `periods`.", examples=["21.53"])
    subscription_eur: str | None = Field(description="About what a bill counts.", examples=["15.65"])
    total_eur: str | None = Field(examples=["37.18"])
    days: int | None = Field(None, description="Days whose cost is known.")
    expected_days: int | None = Field(None, description="All days, those to come included.")
    minutes: int | None = Field(None, description="Minutes whose cost is known.")
    expected_minutes: int | None = Field(None, description="60.")
    estimated: bool = Field(description="Whether energy had to be divided, or off-peak hours are uncertain.")
    source: EnergySource | None
    production_kwh: str | None = Field(None, description="Fed in, only with panels.", examples=["88.010"])
    production_eur: str | None = Field(None, description="Paid for it; not subtracted.", examples=["11.17"])


class CostPage(BaseModel):
    account: str = Field(examples=[EXAMPLE_ID])
    by: Period
    costs: list[CostRow] = Field(description="In time order; empty if no price is set.")
    next: str | None = Field(description="Path of the next page, null after the last one.", examples=[None])


class DescribedDoctype(BaseModel):
    doctype: str = Field(examples=["com.grandlyon.enedis.day"])
    series: Series
    by: Period
    unit: str = Field(description="Unit of `load`.", examples=["kWh"])
    path: str = Field(description="Path of its JSON Schema.", examples=["/api/schemas/com.grandlyon.enedis.day"])


class SchemaList(BaseModel):
    schemas: list[DescribedDoctype]


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the errors of a route, for its description. Every route may give 401, 403, 429 and 503."""
    descriptions = {
        400: "The body is no JSON.",
        401: "No token and no session, or a token that is not good.",
        403: "The token lacks the scope, or the session may not do this.",
        404: "No such account, or none that the caller may see.",
        409: "The account is in no state for this.",
        411: "The body has no length.",
        413: "The body is too large.",
        415: "The body's content type is not JSON.",
        422: "The request is malformed.",
        429: "Too many calls; `Retry-After` says when to come back.",
        503: "A part of the service does not answer; `Retry-After` says when to come back.",
    }
    codes = sorted({401, 403, 429, 503, *statuses})
    return {status: {"model": Problem, "description": descriptions[status]} for status in codes}
