"""The dashboard of a home, and its queries."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.support.pages import ROOT

_GRAFANA: Final = ROOT / "deploy" / "grafana"
DASHBOARD: Final[dict[str, Any]] = json.loads((_GRAFANA / "dashboards" / "home.json").read_text(encoding="utf-8"))
PROVISIONED: Final = _GRAFANA / "provisioning" / "datasources" / "influxdb.yml"


def queries() -> list[str]:
    """Return the query of each target of each panel, each once."""
    targets = [target for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return list(dict.fromkeys(target["query"] for target in targets))
