"""The form of a declaration: what is asked, what was typed, and what is wrong with it. Nothing of it is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final

from fastapi import Form, Request, Response

from worker.clients.suppliers import GRDF
from worker.domain.access_right import HouseholdDeclaration
from worker.domain.account import Account
from worker.domain.invitation import Invitation
from worker.domain.series import daily_of, intervals_of
from worker.runtime.sync_parts import Runtime
from worker.web.context import name_service
from worker.web.render import render_with_form, words_of
from worker.web.security import policy_with_form_to

_LONGEST: Final = 254  # Of an e-mail address; the other fields are shorter.


@dataclass(frozen=True, slots=True, kw_only=True)
class FormPlace:
    """Where a form stands, and what is known there.

    ``path``: its own address. ``meter``: the meter that it is for, where that is fixed. ``invitation``: the one that
    the browser has opened; without it the session's ``account`` vouches. ``tenant``: whose service will read the data.
    """

    path: str
    tenant: str
    meter: str | None = field(default=None, repr=False)
    invitation: Invitation | None = None
    account: Account | None = None

    @property
    def digits(self) -> str:
        """The last digits of a fixed meter; empty where the person types its number."""
        return f"…{self.meter[-4:]}" if self.meter else ""


@dataclass(frozen=True, slots=True)
class TypedRight:
    """What a person has typed, without blanks around it."""

    pce: str = field(default="", repr=False)
    name: str = field(default="", repr=False)
    company: str = field(default="", repr=False)
    postcode: str = field(default="", repr=False)
    email: str = field(default="", repr=False)
    consent: bool = False

    def to_declaration(self, meter: str | None) -> HouseholdDeclaration:
        """Return the declaration of a fixed meter, or of the one that was typed."""
        typed = self.pce.replace(" ", "").upper()
        return HouseholdDeclaration(
            meter=meter or typed,
            postcode=self.postcode.replace(" ", ""),
            email=self.email,
            name=self.name or None,
            company=self.company or None,
        )


def read_typed(
    pce: Annotated[str, Form(max_length=_LONGEST)] = "",
    name: Annotated[str, Form(max_length=_LONGEST)] = "",
    company: Annotated[str, Form(max_length=_LONGEST)] = "",
    postcode: Annotated[str, Form(max_length=_LONGEST)] = "",
    email: Annotated[str, Form(max_length=_LONGEST)] = "",
    consent: Annotated[str, Form(max_length=_LONGEST)] = "",
) -> TypedRight:
    """Return the fields of a form that was sent."""
    return TypedRight(
        pce=pce.strip(),
        name=name.strip(),
        company=company.strip(),
        postcode=postcode.strip(),
        email=email.strip(),
        consent=bool(consent),
    )


def find_faults(typed: TypedRight, declaration: HouseholdDeclaration) -> tuple[str, ...]:
    """Return the names of the fields with a fault, in the form's order."""
    return (*declaration.faults(), *(() if typed.consent else ("consent",)))


def render_form(
    request: Request,
    runtime: Runtime,
    place: FormPlace,
    typed: TypedRight | None = None,
    faults: tuple[str, ...] = (),
) -> Response:
    """Return the page of the form, with what was typed and its faults where there are some."""
    words, clients = words_of(request), runtime.suppliers[GRDF.name]
    response = render_with_form(
        request,
        "right.html",
        422 if faults else 200,
        place=place,
        typed=typed or TypedRight(),
        faults=faults,
        offers_page=offers_consent_page(runtime),
        service=name_service(runtime, place.tenant, words),
        duration=words.duration(clients.endpoints.preset.consent_duration),
        days_back=words.duration(f"P{daily_of(supplier=GRDF.name).description.history_days}D"),
        periods_back=words.duration(f"P{intervals_of(GRDF.name).description.history_days}D"),
    )
    if offers_consent_page(runtime):
        response.headers["Content-Security-Policy"] = policy_with_form_to(clients.endpoints.authorize_url)
    return response


def offers_consent_page(runtime: Runtime) -> bool:
    """Return whether people may consent on the supplier's own page instead (Client Connect).

    In production that takes a contract for it, so the operator says so by setting RELEVE_GRDF_AUTHORIZE_URL.
    """
    return runtime.settings.grdf_authorize_url is not None or runtime.settings.speaks_to_gas_simulator
