"""Test client of the simulator, with the requests of each generation of the supplier's interface."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from httpx2 import Response
from starlette.testclient import TestClient

from simulator.application import create_app
from simulator.switches import CLIENT_ID, CLIENT_SECRET, SimulatorOptions

NOW = datetime.fromisoformat("2024-11-05T09:00+01:00")
HOME = "98765432109876"
CALLBACK = "https://app.example/callback"
PATHS = {
    ("v4", "daily"): "/v4/metering_data/daily_consumption",
    ("v4", "curve"): "/v4/metering_data/consumption_load_curve",
    ("v4", "production"): "/v4/metering_data/daily_production",
    ("v5", "daily"): "/metering_data_dc/v5/daily_consumption",
    ("v5", "curve"): "/metering_data_clc/v5/consumption_load_curve",
    ("v5", "production"): "/metering_data_dp/v5/daily_production",
    ("2026", "daily"): "/mesure_synchrone_auto/v2/consommation_quotidienne",
    ("2026", "curve"): "/mesure_synchrone_auto/v2/courbe_de_charge_consommation",
    ("2026", "production"): "/mesure_synchrone_auto/v2/production_quotidienne",
    ("v4", "production_curve"): "/v4/metering_data/production_load_curve",
    ("v5", "production_curve"): "/metering_data_plc/v5/production_load_curve",
    ("2026", "production_curve"): "/mesure_synchrone_auto/v2/courbe_de_charge_production",
    ("v4", "peaks"): "/v4/metering_data/daily_consumption_max_power",
    ("v5", "peaks"): "/metering_data_dcmp/v5/daily_consumption_max_power",
    ("2026", "peaks"): "/mesure_synchrone_auto/v2/puissance_conso_max_quotidienne",
    ("2026", "registers"): "/mesure_synchrone_auto/v2/index_consommation",
    ("2026", "production_registers"): "/mesure_synchrone_auto/v2/index_production",
}
PEAK_PARAMETERS = {"mesuresPas": "P1D", "grandeurPhysique": "PMA"}


class SimulatorCaller:
    """Client of one simulator in this process, without any HTTP server."""

    def __init__(self, options: SimulatorOptions | None = None) -> None:
        self.options = options or SimulatorOptions(pretend_now=NOW, redirect_uri=CALLBACK)
        self.http = TestClient(create_app(self.options), "http://127.0.0.1", follow_redirects=False)
        self.tokens: dict[str, str] = {}

    @property
    def credentials(self) -> dict[str, str]:
        return {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}

    def authorize(self, version: int = 1, state: str = "abcx", **more: str) -> Response:
        parameters = {"client_id": CLIENT_ID, "response_type": "code", "state": state, "duration": "P1Y"}
        return self.http.get(f"/dataconnect/v{version}/oauth2/authorize", params=parameters | more)

    def callback(self, version: int = 1, state: str = "abcx", **more: str) -> dict[str, str]:
        """Return the query of the address that the household's browser is redirected to."""
        answer = self.authorize(version, state, **more)
        assert answer.status_code == 302, answer.text
        return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}

    def user_token(self, **form: str) -> Response:
        return self.http.post("/v1/oauth2/token", data=self.credentials | form)

    def revoke(self, token: str) -> Response:
        return self.http.post("/oauth2/v3/revoke", data=self.credentials | {"token": token})

    def application_token(self) -> str:
        form = self.credentials | {"grant_type": "client_credentials"}
        return self.http.post("/oauth2/v3/token", data=form).json()["access_token"]

    def bearer(self, generation: str, usage_point: str = HOME) -> str:
        """Return a valid token; in v4 it belongs to the meter."""
        if generation != "v4":
            if "application" not in self.tokens:
                self.tokens["application"] = self.application_token()
            return self.tokens["application"]
        if usage_point not in self.tokens:
            code = self.callback(usage_point_id=usage_point)["code"]
            answer = self.user_token(grant_type="authorization_code", code=code)
            self.tokens[usage_point] = answer.json()["access_token"]
        return self.tokens[usage_point]

    def request_measures(
        self,
        start: str = "2024-11-01",
        end: str = "2024-11-02",
        series: str = "daily",
        generation: str = "v5",
        usage_point: str = HOME,
        token: str | None = None,
    ) -> Response:
        names = ("pointId", "dateDebut", "dateFin") if generation == "2026" else ("usage_point_id", "start", "end")
        further = PEAK_PARAMETERS if (generation, series) == ("2026", "peaks") else {}
        return self.get(
            PATHS[generation, series],
            dict(zip(names, (usage_point, start, end), strict=True)) | further,
            token or self.bearer(generation, usage_point),
        )

    def get(self, path: str, parameters: dict[str, str], token: str) -> Response:
        return self.http.get(path, params=parameters, headers={"Authorization": f"Bearer {token}"})

    def subscribed_services(self, usage_point: str = HOME) -> list[dict[str, Any]]:
        """Return the subscribed services of a holder's consent of 2026."""
        number = int(self.callback(2, usage_point_id=usage_point)["autorisation_id"])
        question = {"autorisationId": number, "comptage": False}
        headers = {"Authorization": f"Bearer {self.bearer('2026')}"}
        answer = self.http.post("/subscribed_services/v1", json=question, headers=headers)
        services: list[dict[str, Any]] = answer.json()["serviceSouscrit"]
        return services

    def switch(self, usage_point: str = HOME, **switches: Any) -> None:
        answer = self.http.post(f"/__sim__/meters/{usage_point}", json=switches)
        assert answer.status_code == 200, answer.text

    def admin(self, path: str, body: Any) -> Any:
        answer = self.http.post(f"/__sim__/{path}", json={} if body is None else body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def truth(self, start: str, end: str, usage_point: str = HOME, **more: str) -> Any:
        return self.http.get(f"/__sim__/truth/{usage_point}", params={"start": start, "end": end} | more).json()

    def report(self) -> Any:
        return self.http.get("/__sim__/report").json()


def points(answer: Response) -> list[tuple[str, str]]:
    """Return label and value of each point, for every generation."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    if "meter_reading" in body:
        return [(row["date"], row["value"]) for row in body["meter_reading"]["interval_reading"]]
    return [(point["d"], point["v"]) for item in body["grandeur"] for point in item["points"]]


def error_of(answer: Response) -> tuple[int, str]:
    """Return status and error code of an answer, for every generation."""
    body = answer.json()
    return answer.status_code, body.get("error") or body["code"]
