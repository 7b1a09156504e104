"""Run one law of ``tests.fuzz.laws`` under atheris, which looks for inputs that reach new lines of ours.

    pip install atheris
    python -m tests.fuzz.guided any_reply_has_a_class -max_total_time=600

atheris is not a dependency: the laws are tested without it, and what it finds is a hypothesis example like any other.
All arguments behind the law's name go to libFuzzer.
"""

from __future__ import annotations

import sys
from typing import Any


def main() -> None:
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is not installed: `pip install atheris`, or use `make fuzz`, which needs nothing else")
    with atheris.instrument_imports(include=["worker.clients", "worker.domain", "worker.simulator"]):
        from tests.fuzz.laws import LAWS

    if len(sys.argv) < 2 or sys.argv[1] not in LAWS:
        sys.exit(f"name a law: {', '.join(LAWS)}")
    law: Any = LAWS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], law.hypothesis.fuzz_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
