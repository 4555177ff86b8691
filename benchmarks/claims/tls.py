"""Claim: TLS costs no more CPU per message, and per handshake, than on the best of the others.

    python benchmarks/run.py tls
    python benchmarks/run.py tls --only 100.KiB --rounds 1 --seconds 0.2

Echo of 1 KiB and 100 KiB messages, protocol and streams. Every loop uses the same OpenSSL, that of
its Python, with a certificate made for the run; handshakes lie before the measured window. The load
is `tls_load.py`, whose speed limits the throughput: CPU per message is the figure. Full handshakes
per CPU second of the server, the end of the connection included, are asked for by `handshakes.py`.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.alone import main_of
from harness.measure import (
    MeasurementError,
    Point,
    Rig,
    Sample,
    Server,
    measure_python_load,
)
from harness.peers import Peer
from harness.suite import Benchmark, Case, Group, Service, Settings, load_group, point_case

KIB = 1024
POINTS = {
    "proto": [(KIB, 100), (100 * KIB, 10)],
    "streams": [(KIB, 100), (100 * KIB, 10)],
}
HANDSHAKES = "handshakes_per_cpu_second"
CLIENTS = 10


class Certificates:
    """A certificate authority and a server certificate in a folder that ends with the process."""

    def __init__(self) -> None:
        try:
            import trustme
        except ImportError as error:
            raise MeasurementError(f"no certificate: {error}") from error
        self.folder = tempfile.TemporaryDirectory(prefix="rloop-benchmark-tls-")
        self.authority = str(Path(self.folder.name) / "ca.pem")
        self.server = str(Path(self.folder.name) / "server.pem")
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.authority)
        issued = authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(self.server)


@functools.cache
def certificates() -> Certificates:
    return Certificates()


def measure(rig: Rig, server: Server, case: Case, settings: Settings) -> Sample:
    shakes_hands = case.figure == HANDSHAKES
    sample = measure_python_load(
        rig,
        server,
        "handshakes" if shakes_hands else "tls_load",
        case.detail,
        settings.warm_up,
        settings.seconds,
        "--cafile",
        certificates().authority,
    )
    return sample | {HANDSHAKES: sample["messages_per_cpu_second"]} if shakes_hands else sample


def group_of(mode: str) -> Group:
    cases = [
        point_case("tls", Point(mode, size, connections, "tls"))
        for size, connections in POINTS[mode]
    ]
    if mode == "proto":
        handshakes = Point(mode, 1, CLIENTS, "tls", "handshake")
        cases.append(Case("tls/handshakes", "handshakes, protocol", HANDSHAKES, handshakes))

    @contextlib.contextmanager
    def open_server(rig: Rig, peer: Peer, settings: Settings) -> Iterator[Server]:
        service = Service(mode, "tls", ("--tls", certificates().server))
        with load_group(service, cases).open(rig, peer, settings) as server:
            yield server

    return Group(cases, open_server, measure)


BENCHMARK = Benchmark("tls", "TLS echo and handshakes", [group_of(mode) for mode in POINTS])

if __name__ == "__main__":
    sys.exit(main_of(BENCHMARK, __doc__))
