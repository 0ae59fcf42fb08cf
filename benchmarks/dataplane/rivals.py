"""The other user-space WireGuards, installed by name into a cache folder."""

import os
import shutil
import subprocess
from pathlib import Path

from testbed import Engine

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "wiretune" / "rivals"
INSTALL_LIMIT_S = 600


def wireguard_go() -> Engine | str:
    """The newest wireguard-go by the Go toolchain; a text says why it cannot be had."""
    go = next((path for path in ("/usr/local/go/bin/go", shutil.which("go")) if path and Path(path).exists()), None)
    if go is None:
        return "wireguard-go: no Go toolchain (https://go.dev/doc/install)"
    command = [go, "install", "golang.zx2c4.com/wireguard@latest"]
    return _install("wireguard-go", CACHE / "go" / "wireguard", command, {"GOBIN": str(CACHE / "go")}, ("-f",))


def boringtun() -> Engine | str:
    return _of_crate("boringtun-cli", "boringtun-cli")


def gotatun() -> Engine | str:
    return _of_crate("gotatun-cli", "gotatun")


def _of_crate(crate: str, program: str) -> Engine | str:
    """A rival from the crate registry; a text says why it cannot be had."""
    root = CACHE / crate
    command = ["cargo", "install", "--quiet", "--locked", "--root", str(root), crate]
    # By default they become the user who has logged in, and do not start where nobody has, as in a container.
    return _install(program, root / "bin" / program, command, {}, ("-f", "--disable-drop-privileges"))


def _install(
    name: str, program: Path, command: list[str], environment: dict[str, str], arguments: tuple[str, ...]
) -> Engine | str:
    if not program.exists():
        print(f"installing {name} into {CACHE} ...", flush=True)
        try:
            done = subprocess.run(command, check=False, text=True, capture_output=True, env=os.environ | environment,
                                  timeout=INSTALL_LIMIT_S)  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{name}: {error}"
        if done.returncode:
            return f"{name}: {' '.join(command)} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
    return Engine(name, program, arguments=arguments)
