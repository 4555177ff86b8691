"""PostgreSQL, Redis and Prometheus as scripts/services.sh installs them: where, and how they run.

For tests and benchmarks, which start servers of their own: with the data in a folder that they
throw away, as an unprivileged user where they run as root (PostgreSQL refuses root). The kernel
ends a server with the thread that started it (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

Command = list[str]


def postgres_programs() -> Path | None:
    """The folder of PostgreSQL's programs: of Debian's newest version, or where PATH has them."""
    folders = Path("/usr/lib/postgresql").glob("*/bin")  # not on PATH
    for folder in sorted(folders, key=lambda path: int(path.parent.name), reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def initdb_command(programs: Path, data: Path) -> Command:
    """What makes `data`, of which the user "tester" is the owner."""
    command = [str(programs / "initdb"), "-D", str(data), "-U", "tester"]
    return [*command, "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]


def postgres_command(programs: Path, data: Path, port: int, **settings: str) -> Command:
    """A server on 127.0.0.1 that keeps nothing on disk for long; `settings` as in its file."""
    all_settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": str(data.parent),
        "fsync": "off",
        "autovacuum": "off",
        "shared_buffers": "16MB",
        **settings,
    }
    options = [word for name, value in all_settings.items() for word in ("-c", f"{name}={value}")]
    return [str(programs / "postgres"), "-D", str(data), "-p", str(port), *options]


def prometheus_command(program: str, folder: Path, port: int) -> Command:
    """A Prometheus on 127.0.0.1, with "prometheus.yml" in `folder`, and its data there, too."""
    return [
        program, "--config.file", str(folder / "prometheus.yml"),
        "--storage.tsdb.path", str(folder / "data"), "--log.level", "warn",
        "--web.listen-address", f"127.0.0.1:{port}",
    ]  # fmt: skip


def unprivileged_user(*names: str) -> pwd.struct_passwd | None:
    """The first of the users that there is; None where this process is not root's."""
    if os.getuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next((known[name] for name in names if name in known), None)


def start_as(
    user: pwd.struct_passwd | None, command: Command, folder: Path
) -> subprocess.Popen[bytes]:
    """Start a command in `folder`, as that user if there is one; what it says is in "log" there."""
    privileges = ["setpriv", "--pdeathsig", "KILL"]
    if user:
        own = ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
        privileges += own
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [*privileges, *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
