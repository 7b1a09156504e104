"""Test client of the simulator's gas, with the requests of GRDF's interface ADICT."""

from __future__ import annotations

import base64
import json
from datetime import date, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from httpx2 import Response
from starlette.testclient import TestClient

from simulator.application import create_app
from simulator.switches import CLIENT_ID, CLIENT_SECRET, SimulatorOptions

NOW = datetime.fromisoformat("2024-11-05T09:00+01:00")
PCE = "01234567890123"
CALLBACK = "https://app.example/connect/gas"
TOKEN_PATH = "/oauth2/aus5y2ta2uEHjCWIR417/v1/token"
AUTHORIZE_PATH = "/openam/oauth2/realms/externeGrdf/authorize"
SCOPES = ("contractuelles", "techniques", "informatives", "publiees")


class GasCaller:
    """Client of one simulator in this process, without any HTTP server; ``base`` is that of production or sandbox."""

    def __init__(self, options: SimulatorOptions | None = None, base: str = "/adict/v2") -> None:
        self.options = options or SimulatorOptions(pretend_now=NOW)
        self.http = TestClient(create_app(self.options), "http://127.0.0.1", follow_redirects=False)
        self.base = base
        self.token: str | None = None

    def ask_token(self, **form: str) -> Response:
        return self.http.post(TOKEN_PATH, data={"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET} | form)

    def headers(self) -> dict[str, str]:
        if self.token is None:
            answer = self.ask_token(grant_type="client_credentials", scope=self.base)
            self.token = str(answer.json()["access_token"])
        return {"Authorization": f"Bearer {self.token}"}

    def call(self, method: str, path: str, **options: Any) -> Response:
        return self.http.request(method, self.base + path, headers=self.headers(), **options)

    def ask(self, name: str, start: str = "2024-10-01", end: str = "2024-11-05", pce: str = PCE) -> Response:
        """Request ``informatives`` or ``publiees``."""
        days = {"date_debut": start, "date_fin": end}
        return self.call("GET", f"/pce/{pce}/donnees_consos_{name}", params=days)

    def records(self, name: str, start: str = "2024-10-01", end: str = "2024-11-05", pce: str = PCE) -> list[Any]:
        answer = self.ask(name, start, end, pce)
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]

    def refusal(self, name: str, *days: str, pce: str = PCE) -> str | None:
        """Return the refusal code of the only record; None for data."""
        first = self.records(name, *days, pce=pce)[0]["statut_restitution"]
        return first and first["code"]

    def declaration(self, pce: str = PCE, **changes: str | None) -> dict[str, str | None]:
        return {
            "role_tiers": "AUTORISE_CONTRAT_FOURNITURE",
            "code_postal": self.meter(pce)["postcode"],
            "nom_titulaire": "DUPONT-ESSAI",
            "courriel_titulaire": "camille@example.org",
            "date_debut_droit_acces": "2024-11-05",
            "date_fin_droit_acces": "2027-11-04",
            "perim_donnees_conso_debut": "2019-11-05",
            "perim_donnees_conso_fin": "2027-11-04",
            **{f"perim_donnees_{scope}": "Vrai" for scope in SCOPES},
        } | changes

    def declare(self, pce: str = PCE, **changes: str | None) -> Response:
        return self.call("PUT", f"/pce/{pce}/droit_acces", json=self.declaration(pce, **changes))

    def rights(self, **filters: list[str]) -> list[Any]:
        answer = self.call("POST", "/droits_acces", json=filters)
        assert answer.status_code == 200, answer.text
        *records, status = [json.loads(line) for line in answer.text.splitlines()]
        assert status["code_statut_traitement"] == "0000000000"
        return records

    def give_right(self, pce: str = PCE, **facts: Any) -> Any:
        return self.admin("rights", {"pce": pce} | facts)

    def act(self, action: str, right: str = PCE, **more: str) -> Any:
        return self.admin(f"rights/{right}", {"do": action} | more)

    def admin(self, path: str, body: Any) -> Any:
        answer = self.http.post(f"/__sim__/gas/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def switch(self, pce: str = PCE, **switches: Any) -> Any:
        return self.admin(f"meters/{pce}", switches)

    def meter(self, pce: str = PCE) -> Any:
        return self.http.get(f"/__sim__/gas/meters/{pce}").json()

    def set_clock(self, now: str) -> None:
        assert self.http.post("/__sim__/clock", json={"now": now}).status_code == 200
        self.token = None  # It lasts four hours.

    def truth(self, series: str, start: str | date, end: str | date, pce: str = PCE) -> Any:
        query = {"start": str(start), "end": str(end), "series": series}
        return self.http.get(f"/__sim__/truth/{pce}", params=query).json()[series]

    def callback(self, **more: str) -> dict[str, str]:
        """Return the query of the address that the household's browser is redirected to."""
        answer = self.authorize(**more)
        assert answer.status_code == 302, answer.text
        return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}

    def authorize(self, **more: str) -> Response:
        parameters = {
            "client_id": CLIENT_ID,
            "response_type": "code",
            "scope": "openid",
            "redirect_uri": CALLBACK,
            "state": "abc",
            "login_hint": "Camille;Dupont;camille@example.org;",
        }
        return self.http.get(AUTHORIZE_PATH, params=parameters | more)


def claims_of(id_token: str) -> Any:
    """Return the claims of a JWT."""
    part = id_token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
