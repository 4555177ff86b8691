#!/usr/bin/env python3
"""The table of parity: asyncio, uvloop, the Rust rloop and both engines of ours, asked.

    scripts/parity_table.py               print the table
    scripts/parity_table.py --explain     and what was found in each cell that is not "yes"
    scripts/parity_table.py --write       put it into docs/compatibility.md
    scripts/parity_table.py --check       1 if our columns are not the page's

Run it with the Python of an environment that holds rloop and uvloop (build/venv-X.Y). The Rust
rloop has our import name, so it lives in build/peers-X.Y/rloop, as for scripts/compare_loops.sh;
--write makes that environment where it is absent. Each cell is the outcome of one trial in a
process of its own (parity.probe; the rows are in parity.trials_*). A peer that is not there is
left out, and --write refuses to. Everything stays on the loopback.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from generated import GeneratedPart
from parity.probe import DEADLINE, LOOPS, OURS, ROWS, Outcome, probe

ROOT = Path(__file__).resolve().parent.parent
PEER = ROOT / "build" / f"peers-{sys.version_info.major}.{sys.version_info.minor}" / "rloop"
TABLE = GeneratedPart("compatibility.md", "parity")
CELLS = ("yes", "differs", "no")

# Importing them fills ROWS, in this order.
for name in ("loop", "transports", "flow"):
    importlib.import_module(f"parity.trials_{name}")

#: column -> row -> outcome
Results = dict[str, dict[str, Outcome]]


# -- asking ---------------------------------------------------------------------------------------


def python_for(loop: str) -> Path:
    return PEER / "bin" / "python" if loop == "Rust rloop" else Path(sys.executable)


def environment(certificates: Path) -> dict[str, str]:
    """The child's: nothing in it chooses another package or engine."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "RLOOP_", "RUST_"))
    }
    return {**kept, "PARITY_CERTIFICATES": str(certificates)}


def ask(loop: str, label: str, certificates: Path) -> dict[str, str]:
    """The outcome of one trial in a process of its own, as JSON says it."""
    command = [str(python_for(loop)), str(Path(__file__).resolve()), "--probe", loop, label]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=3 * DEADLINE,
            env=environment(certificates),
            cwd=certificates,
        )
    except subprocess.TimeoutExpired:
        return {"cell": "no", "why": "the process hangs"}
    except OSError as exc:
        return {"cell": "unavailable", "why": str(exc)}
    try:
        answer: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["nothing on standard error"])[-1]
        return {"cell": "no", "why": f"the process ends with {done.returncode}: {last}"}
    return answer


def ask_all(loops: list[str]) -> tuple[Results, dict[str, str]]:
    """Every trial on every loop that is there; the outcomes, and the versions of the peers."""
    results: Results = {}
    versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        make_certificates(Path(folder))
        for loop in loops:
            first = ask(loop, next(iter(ROWS)), Path(folder))
            if first["cell"] == "unavailable":
                print(f"{loop} is left out: {first['why']}", file=sys.stderr)
                continue
            versions[loop] = first.get("version", "")
            answers = pool.map(lambda label, loop=loop: ask(loop, label, Path(folder)), ROWS)
            results[loop] = {
                label: Outcome(answer["cell"], answer["why"])
                for label, answer in zip(ROWS, answers, strict=True)
            }
    return results, versions


def make_certificates(folder: Path) -> None:
    import trustme  # here, because the peer's Python reads this file too and has none

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))


def prepare_peer() -> None:
    """Make the Rust rloop's environment, unless it is there with this version of Python."""
    python = python_for("Rust rloop")
    version = "import sys; print('%d.%d' % sys.version_info[:2])"
    ours = subprocess.run([sys.executable, "-c", version], capture_output=True, text=True)
    try:
        theirs = subprocess.run([python, "-c", f"import rloop; {version}"], capture_output=True)
        if theirs.stdout.decode() == ours.stdout:
            return
    except OSError:
        pass
    subprocess.run([sys.executable, "-m", "venv", "--clear", PEER], check=True)
    options = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    subprocess.run([python, "-m", "pip", "install", *options, "rloop"], check=True)


# -- the table ------------------------------------------------------------------------------------


def table(results: Results, versions: dict[str, str]) -> str:
    """The whole text between the markers."""
    loops = list(results)
    heads = [f"{loop} {versions[loop]}".strip() for loop in loops]
    python = ".".join(map(str, sys.version_info[:2]))
    lines = [
        f"Written by `scripts/parity_table.py --write` on CPython {python}. Each cell is the",
        "outcome of a small trial of the installed package; *differs*: it is there and does",
        "something else than asyncio's documentation says, or a part of it is missing (`--explain`",
        "says what).",
        "",
        "| | " + " | ".join(heads) + " |",
        "|---|" + "---|" * len(loops),
    ]
    for label in ROWS:
        cells = [results[loop][label].cell for loop in loops]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    counts = [Counter(outcome.cell for outcome in results[loop].values()) for loop in loops]
    totals = [" / ".join(str(count[cell]) for cell in CELLS) for count in counts]
    lines.append(f"| **{' / '.join(CELLS)}** | " + " | ".join(totals) + " |")
    return "\n".join(lines)


def read_table() -> dict[str, dict[str, str]]:
    """column -> row -> cell of the documentation's table; the totals and the versions left out."""
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in TABLE.read().splitlines()
        if line.startswith("| ")
    ]
    if not rows:
        return {}
    columns = {
        loop: position
        for loop in LOOPS
        for position, head in enumerate(rows[0])
        if position and head.startswith(loop)
    }
    return {
        loop: {row[0]: row[position] for row in rows[1:-1]} for loop, position in columns.items()
    }


def explain(results: Results) -> None:
    for loop, outcomes in results.items():
        for label, outcome in outcomes.items():
            if outcome.cell != "yes":
                print(f"{loop}: {label}: {outcome.cell}: {outcome.why}")


# -- the command ----------------------------------------------------------------------------------


def write(results: Results, text: str) -> int:
    left_out = [loop for loop in LOOPS if loop not in results]
    if left_out:
        print(f"not written: {', '.join(left_out)} would be missing", file=sys.stderr)
        return 1
    TABLE.replace(text)
    return 0


def check(results: Results) -> int:
    """Compare with the page; what the other loops do is said, but fails nothing.

    Theirs depends on the version of Python: not even asyncio had everything in 3.11.
    """
    written = read_table()
    status = 0
    for loop, outcomes in results.items():
        for label, outcome in outcomes.items():
            before = written.get(loop, {}).get(label, "not there")
            if before == outcome.cell:
                continue
            print(f"{loop}: {label}: documented {before}, now {outcome.cell} {outcome.why}")
            if loop in OURS:
                status = 1
    gone = [label for label in written.get(OURS[1], {}) if label not in ROWS]
    for label in gone:
        print(f"the page has a row that is gone: {label}")
    if OURS[1] not in results:  # io_uring may be refused here, epoll may not
        print("rloop could not be asked")
        return 1
    return 1 if gone else status


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", action="store_true", help="rewrite the documentation's table")
    action.add_argument("--check", action="store_true", help="compare with that table")
    action.add_argument("--probe", nargs=2, metavar=("LOOP", "ROW"), help="run one trial here")
    parser.add_argument("--explain", action="store_true", help="say why a cell is not yes")
    options = parser.parse_args()
    if options.probe:
        print(probe(*options.probe), flush=True)
        # Whatever a loop does at the interpreter's end is no trial's outcome.
        os._exit(0)
    if options.write:
        prepare_peer()
    results, versions = ask_all(list(LOOPS))
    if options.explain:
        explain(results)
    if options.check:
        return check(results)
    text = table(results, versions)
    if options.write:
        return write(results, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
