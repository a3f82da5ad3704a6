"""Mount a disk that was cut off, run the applier on it, and say as JSON what was there before and is afterwards.

`replay.py` runs this file by path in a mount namespace of its own. Standard library only, no imports from the project.
"""

import json
import subprocess
import sys
from pathlib import Path


def files(root: Path) -> dict[str, str]:
    """The links' files, by name."""
    folder = root / "etc/sysconfig/network-scripts"
    return {file.name: file.read_text() for file in sorted(folder.iterdir())}


def main(image: str, mounted: str, applier: str) -> None:
    """Look, run the applier, and look again."""
    subprocess.run(["mount", "-o", "loop", image, mounted], check=True, timeout=30)
    root = Path(mounted)
    before = files(root)
    argv = [sys.executable, "-I", applier, "--json", "--root", mounted, "status"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    kept = [path.name for path in (root / "var/lib/kvmgen").rglob("*")]
    found = {"before": before, "after": files(root), "code": done.returncode, "said": done.stderr}
    found["left"] = [name for name in kept if name.startswith(("journal", ".kvmgen"))]
    found["generation"] = json.loads(done.stdout)["generation"] if done.stdout else None
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
