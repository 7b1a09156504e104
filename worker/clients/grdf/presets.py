"""GRDF's API ADICT: hosts, paths, scope and limits; production and its sandbox ("bas"), which lie on one host.

Source: GRDF, swagger of ADICT v2 and the digest of its kit; the code of the public clients lowatt-grdf and aeneria. One
client asks production under /adict/v6, so base and scope are settings too. The limits a second and a day are those of
the contract for fewer than 5 000 meters, as one public client tells them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from worker.clients.endpoints import Preset, StateCall
from worker.clients.reduction import ITSELF
from worker.domain.series import Series

RIGHTS: Final = "/droits_acces"
RIGHT_OF_METER: Final = "/pce/{meter}/droit_acces"
RIGHT: Final = "/droit_acces/{right}"
PROOFS: Final = "/droit_acces/{right}/preuves"
LONGEST_LIST: Final = 1_000  # Meters of one request for rights.
# The series that need a part of a right.
SERIES_OF_PARTS: Final[Mapping[str, Series]] = {
    "perim_donnees_informatives": Series.GAS_DAILY,
    "perim_donnees_publiees": Series.GAS_PUBLISHED,
    "perim_donnees_techniques": Series.GAS_CONTRACT,
}
_PRODUCTION: Final = Preset(
    name="grdf-adict",
    title="GRDF",
    base_url="https://api.grdf.fr",
    sandbox_base_url="https://api.grdf.fr",
    data_path="/adict/v2",
    token_base_url="https://adict-connexion.grdf.fr",  # noqa: S106
    token_path="/oauth2/aus5y2ta2uEHjCWIR417/v1/token",  # noqa: S106
    revoke_path=None,
    token_mode="application",  # noqa: S106
    scope="/adict/v2",
    form_credentials=True,
    authorize_url="https://sofit-sso-oidc.grdf.fr/openam/oauth2/realms/externeGrdf/authorize",
    sandbox_authorize_url="https://sofit-sso-oidc.grdf.fr/openam/oauth2/realms/externeGrdf/authorize",
    paths={
        Series.GAS_DAILY: "/pce/{meter}/donnees_consos_informatives",
        Series.GAS_PUBLISHED: "/pce/{meter}/donnees_consos_publiees",
    },
    # Of the technical data nothing but the frequency leaves the client: the address of the meter does not.
    state_calls={
        Series.GAS_CONTRACT: (
            StateCall(
                "donnees_techniques",
                "/pce/{meter}/donnees_techniques",
                {"donnees_techniques": {"caracteristiques_compteur": {"frequence": None}}},
            ),
            StateCall(
                "donnees_contractuelles",
                "/pce/{meter}/donnees_contractuelles",
                {
                    "donnees_contractuelles": {
                        # A number, or an object: two generations of the contractual data.
                        "car": {ITSELF: None, "car_actuelle": None},
                        "tarif_acheminement": None,
                        "date_mes": None,
                    }
                },
                required=False,
            ),
        )
    },
    usage_point_parameter="",
    start_parameter="date_debut",
    end_parameter="date_fin",
    domain="grdf.fr",
    consent_style="right",
    consent_duration="P3Y",
    calls_per_second=1,
    calls_per_hour=3_600,
    calls_per_day=6_000,
)
_SANDBOX: Final = replace(_PRODUCTION, name="grdf-adict-sandbox", data_path="/adict/bas/v6", scope="/adict/bas/v6")
PRESETS: Final[Mapping[str, Preset]] = {preset.name: preset for preset in (_PRODUCTION, _SANDBOX)}
