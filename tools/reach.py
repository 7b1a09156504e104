"""Print how many modules of ours each file of ``tasks/`` and the web application load when they are imported.

python -m tools.reach
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

OURS = ("config", "tasks", "worker")
_COUNT = """
import importlib, sys
importlib.import_module(sys.argv[1])
ours = [name for name, module in sys.modules.items() if name.partition(".")[0] in {ours!r}]
print("\\n".join(name for name in ours if not hasattr(sys.modules[name], "__path__")))
"""


def modules_of(name: str) -> list[str]:
    """Return our modules that importing ``name`` loads in a fresh interpreter, itself among them, without packages."""
    program = [sys.executable, "-c", _COUNT.format(ours=OURS), name]
    return sorted(subprocess.run(program, capture_output=True, text=True, check=True).stdout.split())


def main() -> None:
    names = [f"tasks.{file.stem}" for file in sorted(Path("tasks").glob("*.py")) if file.stem != "__init__"]
    reach = {name: len(modules_of(name)) for name in (*names, "worker.web.app")}
    sys.stdout.write(json.dumps(reach, indent=1) + "\n")


if __name__ == "__main__":
    main()
