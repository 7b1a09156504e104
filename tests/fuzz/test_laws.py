"""The laws of fuzzing, for some seconds; RELEVE_FUZZ_EXAMPLES (or ``make fuzz``) tries more."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.fuzz.file_laws import FILE_LAWS
from tests.fuzz.gas_laws import GAS_LAWS
from tests.fuzz.laws import LAWS

EXAMPLES = int(os.environ.get("RELEVE_FUZZ_EXAMPLES", "60"))
_budget = settings(max_examples=EXAMPLES, print_blob=True, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", [*LAWS, *GAS_LAWS, *FILE_LAWS])
def test_law(name: str) -> None:
    _budget({**LAWS, **GAS_LAWS, **FILE_LAWS}[name])()
