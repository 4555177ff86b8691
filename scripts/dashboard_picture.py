"""Draws panels of examples/observe/dashboard.json from what a real Prometheus has scraped.

    build/venv-3.13/bin/python scripts/dashboard_picture.py

Two workers of examples/observe/app.py serve clients for two minutes: few, more, and at last one
whose requests block the loop. The queries are the dashboard's, the drawing is matplotlib's: Grafana
is no Debian package. Needs uvicorn, prometheus-client, matplotlib, and scripts/services.sh.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from dashboard import FOLDER, Client, Panel, configuration, filled_in, legend, panels
from matplotlib.axes import Axes
from service_programs import prometheus_command, start_as, unprivileged_user

PICTURE = FOLDER.parent.parent / "docs" / "pictures" / "dashboard.png"
APPLICATION, PAGES, PROMETHEUS = 8123, 9101, 9190
SHOWN = ("Utilization", "Lag", "Messages", "System calls per message", "Turns", "Connections")
SCRAPES, INTERVAL, STEP = "1s", "5s", 1.0

#: Seconds from the beginning, and the clients from then on: a path, and a pause between requests.
FEW, MORE = [("/sleep?0.01", 0.02)] * 4, [("/sleep?0.01", 0.005)] * 8 + [("/", 0.01)] * 8
PHASES = [(0, FEW), (40, MORE), (80, [*MORE, ("/block?0.15", 0.6)])]
END = 120


@contextlib.contextmanager
def running(folder: Path) -> Iterator[None]:
    """The application and Prometheus, until the block ends."""
    (folder / "prometheus.yml").write_text(
        configuration([f"127.0.0.1:{PAGES + worker}" for worker in range(2)], SCRAPES)
    )
    program = shutil.which("prometheus")
    if program is None:
        sys.exit("dashboard_picture.py: prometheus is not installed (scripts/services.sh)")
    user = unprivileged_user("prometheus", "nobody")
    if user:
        os.chown(folder, user.pw_uid, user.pw_gid)
    uvicorn = [
        sys.executable, "-m", "uvicorn", "app:app", "--app-dir", str(FOLDER), "--workers", "2",
        "--loop", "rloop:new_uring_event_loop", "--port", str(APPLICATION), "--no-access-log",
    ]  # fmt: skip
    application = subprocess.Popen(uvicorn, env={**os.environ, "METRICS_PORT": str(PAGES)})
    prometheus = start_as(user, prometheus_command(program, folder, PROMETHEUS), folder)
    try:
        yield
    finally:
        for process in (application, prometheus):
            process.terminate()
            process.wait()


def ask(path: str, pause: float, end: float) -> None:
    """One client: requests on one connection, until that time."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", APPLICATION)) as client:
        while time.time() < end:
            client.request("GET", path)
            client.getresponse().read()
            time.sleep(pause)


def work(start: float) -> None:
    """All phases."""
    ends = [*(begin for begin, _ in PHASES[1:]), END]
    for (_, clients), end in zip(PHASES, ends, strict=True):
        threads = [
            threading.Thread(target=ask, args=(path, pause, start + end)) for path, pause in clients
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def draw(axes: Axes, panel: Panel, client: Client, start: float) -> None:
    """One panel, as the dashboard describes it."""
    for expression, text in panel.targets:
        query = filled_in(expression, INTERVAL)
        for series in client.between(query, start, start + END, STEP):
            points = [(moment - start, value) for moment, value in series.points]
            if not any(value for _, value in points):
                continue  # it would only hide another one at the bottom
            name = re.sub(r"127\.0\.0\.1:(\d+) \w+", r"\1", legend(text, series.labels))
            axes.plot(*zip(*points, strict=True), linewidth=1, label=name)
    axes.set_title(panel.title, size=9)
    if panel.title == "Lag":
        axes.set_yscale("log")
        axes.set_ylabel("seconds", size=7)
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlim(0, END)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=6, loc="upper left", ncols=2)


def wait_for_targets(client: Client) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):  # it does not listen yet
            if client.healthy_targets() == 2:
                return
        time.sleep(0.2)  # Prometheus says nothing by itself; the end above limits it
    sys.exit("dashboard_picture.py: the application's pages are not scraped")


def main() -> None:
    """Run, work, draw."""
    with tempfile.TemporaryDirectory() as name, running(Path(name)):
        client = Client(PROMETHEUS)
        wait_for_targets(client)
        start = time.time()
        work(start)
        figure, places = plt.subplots(3, 2, figsize=(11, 8))
        chosen = {panel.title: panel for panel in panels()}
        for axes, title in zip(places.flat, SHOWN, strict=True):
            draw(axes, chosen[title], client, start)
        for axes in places[-1]:
            axes.set_xlabel("seconds", size=8)
        figure.tight_layout()
        figure.savefig(PICTURE, dpi=110)
    print(f"dashboard_picture.py: wrote {PICTURE}")


if __name__ == "__main__":
    main()
