"""Schemas of the API's requests and answers (pydantic), and the descriptions of its errors for OpenAPI."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Final

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from worker.domain.consent.accounts import Account, AccountState

EXAMPLE_ID: Final = "k3qd0fr2mw7x"
AccountId = Annotated[
    str,
    Path(
        pattern=r"^[a-z][a-z0-9]{0,31}$",
        description="The account's id; never the meter's number.",
        examples=[EXAMPLE_ID],
    ),
]


class Fault(BaseModel):
    """What every refusal and failure answers."""

    error: str = Field(description="A word for programs; it doesn't change.", examples=["unknown_account"])
    message: str = Field(description="A line for people.", examples=["no such account, or none that you may see"])


class AccountOut(BaseModel):
    account: str = Field(description="Opaque id.", examples=[EXAMPLE_ID])
    state: AccountState
    reason: str = Field(description="The code that led to this state, empty where all is well.", examples=[""])
    supplier: str = Field(examples=["enedis"])
    usage_point: str | None = Field(
        description="Last four digits of the meter's number, for its own household alone; otherwise null.",
        examples=[None],
    )
    created_at: datetime
    consent_from: date | None
    consent_until: date | None

    @classmethod
    def from_account(cls, account: Account, *, household: bool) -> AccountOut:
        number = account.usage_point_id
        return cls(
            account=account.id,
            state=account.state,
            reason=account.reason,
            supplier=account.supplier,
            usage_point=f"…{number[-4:]}" if household and number else None,
            created_at=account.created_at,
            consent_from=account.consent_from,
            consent_until=account.consent_until,
        )


class AccountPage(BaseModel):
    accounts: list[AccountOut] = Field(description="In the order of ids.")
    next: str | None = Field(
        description="Path of the next page, null after the last one.",
        examples=[f"/api/accounts?limit=100&after={EXAMPLE_ID}"],
    )


class NewAccount(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"usage_point": "12345678901234"}]})

    usage_point: str = Field(
        pattern=r"^[0-9]{14}$", description="The meter's 14-digit number (PDL, PRM); its holder has consented."
    )


class Receipt(BaseModel):
    """What a removal erased; zeros where it was erased before."""

    account: str = Field(examples=[EXAMPLE_ID])
    erased: dict[str, int] = Field(examples=[{"documents": 3152, "usage_points": 1, "tokens": 0, "state_keys": 6}])


class SeriesStatus(BaseModel):
    loaded: bool
    done: int = Field(description="Days of the history that are done.", examples=[1095])
    total: int = Field(description="Days that are wanted.", examples=[1095])
    last_day: date | None
    last_success: datetime | None
    error: str | None = Field(description="Code of the last failure, null after a success.")
    message: str | None


class AccountStatus(BaseModel):
    """As `releve status --json` prints it."""

    account: str = Field(examples=[EXAMPLE_ID])
    state: AccountState
    reason: str
    hint: str = Field("", description="`CURVE_NOT_ACTIVATED`: daily totals come, and the curve is not collected.")
    series: dict[str, SeriesStatus] = Field(description="`daily` and `load_curve`.")


class SeriesDone(BaseModel):
    done: int = Field(examples=[420])
    total: int = Field(examples=[1095])
    error: str | None = Field(description="Code of the last failure, null after a success.")


class ProgressOut(BaseModel):
    account: str = Field(examples=[EXAMPLE_ID])
    state: AccountState
    reason: str
    loaded: bool = Field(description="Whether the whole history is there.")
    series: dict[str, SeriesDone] = Field(description="Days, by `daily` and `load_curve`.")


class Measure(BaseModel):
    """A stored document. `fold` is 1 in the second pass of the autumn hour and absent elsewhere."""

    load: float = Field(description="Energy in kWh.", examples=[0.312])
    year: int = Field(examples=[2024])
    month: int = Field(examples=[7])
    day: int = Field(description="0 in documents by month and by year.", examples=[24])
    hour: int
    minute: int
    fold: int | None = Field(None)


class MeasurePage(BaseModel):
    account: str = Field(examples=[EXAMPLE_ID])
    by: str = Field(examples=["hour"])
    documents: list[Measure] = Field(description="In time order; a period without a reading has none.")
    next: str | None = Field(description="Path of the next page, null after the last one.", examples=[None])


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the errors of a route for its description. Every route may give 401, 403, 429 and 503."""
    descriptions = {
        400: "The body is no JSON.",
        401: "No token and no session, or a token that is not good.",
        403: "The token lacks the scope, or the session may not do this.",
        404: "No such account, or none that the caller may see.",
        409: "The account is in no state for this.",
        411: "The body has no length.",
        413: "The body is too large.",
        422: "The request is malformed.",
        429: "Too many calls; `Retry-After` says when to come back.",
        503: "A part of the service does not answer; `Retry-After` says when to come back.",
    }
    codes = sorted({401, 403, 429, 503, *statuses})
    return {status: {"model": Fault, "description": descriptions[status]} for status in codes}
