"""Replays a real trace with a surge against a service on the local cluster, and shows how the service reacts.

Then the same requests at the same times go to a rival: stock vLLM, scaled by a HorizontalPodAutoscaler on the length of
the queue and the requests in flight. The report has both, and answers of both to replay word by word. The comparison
may come out against Andante.

Exit status: 0 when replicas rose with the surge and fell after it and no stream was cut; 1 otherwise; 2 bad input. It
does not depend on the rival: where the rival cannot play, a sentence says why.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from andante.api.v1alpha1 import LLMService
from andante.cli.errors import InputError
from andante.cli.traces import read_trace
from andante.domain.pace import PRESETS, QoEClass
from andante.domain.trace import TraceRequest
from hack.demo import rival_cluster
from hack.demo.comparison import compare, purchases, rows
from hack.demo.outcome import Demo, Side
from hack.demo.phase import play, wait_ready
from hack.demo.report import write_report
from hack.demo.result import document
from hack.demo.rival import Targets
from hack.demo.rival_cluster import RivalCluster
from hack.demo.verdict import verdict
from hack.demo.watch import Watcher, to_sample
from hack.demo.workload import Surge, thin
from hack.install import ROOT, Installation, install
from hack.localcluster import target
from hack.localcluster.errors import ClusterError

READER = PRESETS["reading"]
MAX_PROMPT_TOKENS, MAX_OUTPUT_TOKENS = 2000, 400
OURS, RIVAL = "Andante", "stock vLLM + HPA"
READY_SECONDS = 900.0


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of `make demo`."""
    parser = argparse.ArgumentParser(
        prog="make demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    target.add_arguments(parser)
    parser.add_argument("--namespace", default="demo")
    parser.add_argument("--service", type=Path, default=ROOT / "examples" / "llmservice.yaml")
    parser.add_argument("--trace", type=Path, default=ROOT / "examples" / "traces" / "azure2023_conv_10min.csv.gz")
    parser.add_argument("--speed", type=float, default=1.5, help="compress the trace's time by this factor")
    parser.add_argument("--seconds", type=float, default=400.0, help="length of the replay")
    parser.add_argument("--base-rate", type=float, default=0.8, help="requests/s before and after the surge")
    parser.add_argument("--peak-rate", type=float, default=2.4, help="requests/s in the surge")
    parser.add_argument("--surge-start", type=float, default=60.0, help="second at which the surge begins")
    parser.add_argument("--surge-seconds", type=float, default=150.0, help="how long it lasts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--no-rival", action="store_true", help="only our service: about 9 minutes less, and nothing to compare"
    )
    usual = Targets()
    parser.add_argument(
        "--rival-waiting", type=float, default=usual.waiting, metavar="REQUESTS",
        help=f"the rival aims at this queue for each replica (default: {usual.waiting:g})",
    )  # fmt: skip
    parser.add_argument(
        "--rival-in-flight", type=float, default=usual.in_flight, metavar="REQUESTS",
        help="the rival aims at this many requests that wait or run for each replica "
        f"(default: {usual.in_flight:g}, near what saturates one of the example)",
    )  # fmt: skip
    parser.add_argument("--report", type=Path, default=ROOT / "report.html")
    parser.add_argument("--json", type=Path, default=None, dest="json_out", help="write all figures here")
    return parser.parse_args(given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """What both sides of the demo share."""

    options: argparse.Namespace
    console: Console
    service: Mapping[str, Any]
    """The manifest of our LLMService."""
    requests: Sequence[TraceRequest]
    surge: Surge

    @property
    def reader(self) -> QoEClass:
        return READER

    def phase(self, name: str, installation: Installation, watcher: Watcher) -> Side:
        """Replay against a service that is Ready."""
        least = to_sample(watcher.read(), at=0.0).replicas
        surge = self.surge
        self.console.print(
            f"Replaying {len(self.requests)} requests over {self.options.seconds:.0f} s to {name}: "
            f"{surge.base_rate}/s, and {surge.peak_rate}/s from second {surge.start:.0f} to "
            f"{surge.start + surge.duration:.0f}."
        )
        return play(
            name,
            self.requests,
            installation=installation,
            watcher=watcher,
            console=self.console,
            model=self.service["spec"]["model"].get("servedName") or installation.service,
            reader=READER,
            seconds=self.options.seconds,
            least=least,
        )

    def tell(self, demo: Demo) -> None:
        """Print the figures, and write the report and the JSON document."""
        found = rows(demo, READER)
        table = Table("figure", *(side.name for side in demo.sides), title="What the readers got, and what it took")
        for row in found:
            table.add_row(row.name, *row.texts)
        self.console.print(table)
        for side in demo.sides:
            for bought in purchases(side.pods, surge=demo.surge):
                words = f"{side.name}: a replica was bought at second {bought.pod.created:.0f}: {bought.words}"
                self.console.print(words, highlight=False, style="bold red" if bought.too_late else "")
        said = compare(demo, found)
        if said:
            self.console.print(said.text, highlight=False, style="bold")
        prompts = [request.prompt_tokens for request in self.requests]
        write_report(self.options.report, demo, reader=READER, prompt_tokens=prompts)
        self.console.print(f"Report: {self.options.report}")
        if self.options.json_out:
            told = document(demo, reader=READER, settings=_settings(self.options, self.service))
            self.options.json_out.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def _settings(options: argparse.Namespace, service: Mapping[str, Any]) -> dict[str, Any]:
    names = ("speed", "seconds", "base_rate", "peak_rate", "surge_start", "surge_seconds", "seed")
    return {
        "trace": options.trace.name,
        **{name: getattr(options, name) for name in names},
        "max_prompt_tokens": MAX_PROMPT_TOKENS,
        "max_output_tokens": MAX_OUTPUT_TOKENS,
        "rival": {"waiting": options.rival_waiting, "in_flight": options.rival_in_flight},
        "service": service["spec"],
    }


def main() -> int:
    options = arguments()
    console = Console()
    started = time.monotonic()
    surge = Surge(
        base_rate=options.base_rate,
        peak_rate=options.peak_rate,
        start=options.surge_start,
        duration=options.surge_seconds,
    )
    try:
        requests = thin(
            read_trace(options.trace),
            surge=surge,
            speed=options.speed,
            seconds=options.seconds,
            max_prompt_tokens=MAX_PROMPT_TOKENS,
            max_output_tokens=MAX_OUTPUT_TOKENS,
            seed=options.seed,
        )
        service = yaml.safe_load(options.service.read_text(encoding="utf-8"))
    except (ValueError, InputError, OSError, yaml.YAMLError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    show = Show(options=options, console=console, service=service, requests=requests, surge=surge)
    try:
        installation = install(
            target.from_options(options),
            namespace=options.namespace,
            service_file=options.service,
            say=console.print,
        )
        with contextlib.closing(installation):
            return run(show, installation, started=started)
    except (RuntimeError, ClusterError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def run(show: Show, installation: Installation, *, started: float) -> int:
    """Both sides, one after the other; returns the exit status. `started`: the monotonic clock at the demo's start."""
    options, console = show.options, show.console
    no_rival = "No rival played, as --no-rival asks." if options.no_rival else rival_cluster.why_not()
    targets = Targets(waiting=options.rival_waiting, in_flight=options.rival_in_flight)
    rival = RivalCluster(installation, show.service, targets, say=console.print)
    try:
        rival.take_away()  # a run that was killed leaves its rival, and our own service at rest
    except RuntimeError as error:
        no_rival = no_rival or f"No rival plays, as the cluster refuses what it needs: {error}"
    if no_rival:
        console.print(no_rival, highlight=False)
    watcher = Watcher(name=installation.service, namespace=options.namespace)
    wait_ready(watcher, console, timeout=READY_SECONDS)
    console.print(f"From the start to Ready: {time.monotonic() - started:.0f} s. Endpoint: {installation.url}")
    least = to_sample(watcher.read(), at=0.0).replicas
    ours = show.phase(OURS, installation, watcher)
    complaints = verdict(scores=ours.scores, samples=ours.samples, least=least)
    demo = Demo(
        ours=ours,
        complaints=complaints,
        surge=show.surge,
        target_qoe=LLMService.parse(show.service).spec.qoe.objective.qoe,
        no_rival=no_rival or "The rival has not played yet.",
    )
    show.tell(demo)
    if not no_rival:
        # Whatever befalls the rival, our own result stands.
        try:
            show.tell(replace(demo, rival=_played(show, rival), no_rival=None))
        except Exception as error:  # noqa: BLE001
            reason = f"{type(error).__name__}: {error}" if not isinstance(error, RuntimeError) else str(error)
            console.print(f"The rival did not play to the end: {reason}", style="bold red", highlight=False)
            show.tell(replace(demo, no_rival=f"The rival did not play to the end: {reason}"))
    for complaint in complaints:
        console.print(complaint, style="bold red")
    console.print(
        f"Look around:  export KUBECONFIG={installation.kubeconfig}; kubectl -n {options.namespace} get lls -o yaml"
    )
    return 1 if complaints else 0


def _played(show: Show, rival: RivalCluster) -> Side:
    """The same requests at the rival. Raises RivalError and others where it cannot play."""
    with rival.playing() as theirs:
        watcher = rival.watcher()
        wait_ready(watcher, show.console, timeout=READY_SECONDS)
        rival.await_autoscaler()
        return show.phase(RIVAL, theirs, watcher)


if __name__ == "__main__":
    sys.exit(main())
