"""The three approaches of the thesis on a cluster in a box: time, bytes and messages. ``python benchmarks/approaches.py``.

The same workflow over the same datasets, one on each host, is run decentralized (mpiflow), centralized (one rank orchestrates and
all data pass through it) and conventional (all data on a shared directory behind the network). The clock runs from when all
ranks are ready to when the answer is there; bytes are what the kernel counts on the links meanwhile. The answers are compared.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measuring import RESULTS, ROOT, SIDES, arguments, finish, in_turn, progress, ratio, summary

sys.path.insert(0, str(SIDES))
sys.path.insert(0, str(ROOT / "tests" / "cluster"))
from approaches_picture import draw
from box import Box
from chains import WORKFLOWS, answer, dataset

APPROACHES = ("decentralized", "centralized", "centralized, others work", "conventional")
PICTURE = ROOT / "docs" / "approaches.svg"
OPS = ROOT / "examples" / "scenarios" / "ops.py"
HOSTS, MEGABYTES = (2, 4, 8), (1, 4, 16, 64)
USUAL_HOSTS, USUAL_MEGABYTES = 4, 16
STEPS = {"linear": "real2bin({all})", "nonlinear": "group_medians({all})", "mixed": "group_sums(D1 + halve({rest}))"}


class Setting(NamedTuple):
    """What is measured: which workflow, on how many hosts, with how large datasets [10^6 bytes]."""

    workflow: str
    hosts: int
    megabytes: int

    @property
    def size(self) -> int:
        """Elements of a dataset."""
        return self.megabytes * 125_000


def main() -> None:
    """Measure every setting, print, draw."""
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--rate", type=int, default=200, help="limit of each link in each direction [Mbit/s] (default: 200)")
    parser.add_argument("--hosts", type=int, nargs="+", default=HOSTS, help="numbers of hosts, for the usual size")
    parser.add_argument("--megabytes", type=int, nargs="+", default=MEGABYTES,
                        help="sizes of a dataset, for the usual number of hosts")
    parser.add_argument("--picture", type=Path, help="where the picture goes (default: docs/approaches.svg)")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.hosts, chosen.megabytes, chosen.repeats = [2], [1], 1
    usual = (USUAL_HOSTS, USUAL_MEGABYTES) if not chosen.quick else (2, 1)
    pairs = sorted({*((hosts, usual[1]) for hosts in chosen.hosts), *((usual[0], size) for size in chosen.megabytes)})
    found = {}
    with Box(max(hosts for hosts, _ in pairs) + 1, chosen.rate * 1_000_000) as box:
        for hosts, megabytes in pairs:
            with data(box, hosts, megabytes):
                found |= {setting: measure(chosen, box, setting) for setting in (Setting(w, hosts, megabytes) for w in WORKFLOWS)}
    picture = chosen.picture or ((chosen.json or RESULTS / "x").with_name("approaches.svg") if chosen.quick else PICTURE)
    draw(found, usual, picture, f"{chosen.rate} Mbit/s")
    header = ["workflow", "hosts", "MB each", "approach", "time [s]", "/ decentralized", "MB in all", "MB on the busiest link",
              "of", "busy [%]", "messages", "frames"]
    finish(chosen, header, [row for setting, item in found.items() for row in rows(setting, item, chosen.rate)],
           [{**setting._asdict(), "approaches": item} for setting, item in found.items()])
    print(f"picture: {picture}")


@contextlib.contextmanager
def data(box: Box, hosts: int, megabytes: int) -> Iterator[None]:
    """Put a dataset on each host, and all of them on the last host of the box, which serves files."""
    files = []
    for number in range(1, hosts + 1):
        for host in (f"h{number}", box.hosts[-1]):
            files.append(box.outside(host) / f"D{number}.npy")
            np.save(files[-1], dataset(number, megabytes * 125_000))
    yield
    for file in files:
        file.unlink()


def measure(chosen, box: Box, setting: Setting) -> dict[str, Any]:
    """Measure all approaches in one setting, in turn."""
    progress(f"{setting.workflow}, {setting.hosts} hosts, {setting.megabytes} MB")
    expected = answer(setting.workflow, setting.hosts, setting.size)

    def checked(run: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
        def once() -> dict[str, Any]:
            place = box.shared / "answer.npy"
            place.unlink(missing_ok=True)
            sample = run()
            assert np.allclose(np.load(place), expected, rtol=1e-12, atol=0)
            return sample
        return once

    samples = in_turn({name: checked(run) for name, run in runs(chosen, box, setting).items()}, chosen.repeats)
    times = {name: summary([sample["seconds"] for sample in taken]) for name, taken in samples.items()}
    return {name: {"seconds": times[name], "ratio": ratio(times[name], times[APPROACHES[0]]), "samples": taken,
                   **traffic(min(taken, key=lambda sample: sample["seconds"]))} for name, taken in samples.items()}


def traffic(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Sum up what links carried: bytes sent by all, and the one direction of one link that carried most."""
    links = {host: max(sent, received) for host, (sent, received, _, _) in sample["links"].items()}
    busiest = max(links, key=links.__getitem__)
    return {"nbytes": sum(link[0] for link in sample["links"].values()), "busiest": busiest, "busiest_nbytes": links[busiest],
            "messages": sample["messages"], "frames": sum(link[2] for link in sample["links"].values())}


def rows(setting: Setting, item: Mapping[str, Any], rate: int) -> Iterator[list[object]]:
    """Give a row of the table for each approach; ``rate`` [Mbit/s] is that of a link."""
    for name, found in item.items():
        busy = 100 * 8 * found["busiest_nbytes"] / (rate * 1e6 * found["seconds"]["best"])
        yield [*setting, name, found["seconds"]["median"], found["ratio"]["median"], found["nbytes"] / 1e6,
               found["busiest_nbytes"] / 1e6, found["busiest"], round(busy), found["messages"], found["frames"]]


# Runs

def runs(chosen, box: Box, setting: Setting) -> dict[str, Callable[[], dict[str, Any]]]:
    """Give what runs the workflow once, for each approach."""
    def ranks(*words: object) -> str:
        ended = box.run(1, [sys.executable, *words], box.hosts[:setting.hosts], timeout=chosen.timeout,
                        environment={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
        if ended.status != 0:
            raise SystemExit(f"status {ended.status}: {words}\n{ended.out}{ended.err}")
        return ended.out

    def by_hand(script: str, *words: object) -> dict[str, Any]:
        return json.loads(ranks(SIDES / script, setting.workflow, setting.size, words[0], box.shared / "answer.npy", *words[1:]))

    def conventional() -> dict[str, Any]:
        with file_server(box) as address:
            return by_hand("conventional.py", address)

    measures = (lambda: decentralized(box, setting, ranks), lambda: by_hand("central.py", box.scratch, "centre"),
                lambda: by_hand("central.py", box.scratch, "workers"), conventional)
    return dict(zip(APPROACHES, measures, strict=True))


@contextlib.contextmanager
def file_server(box: Box) -> Iterator[str]:
    """Start the shared directory on the last host of the box, which does nothing else, and give its address."""
    host = box.hosts[-1]
    address = box.address(host)
    with box.starting_on(host, [sys.executable, SIDES / "file_server.py", address, box.scratch]) as server:
        if server.stdout.readline() != "ready\n":
            raise SystemExit(f"the file server does not start: {server.communicate()[1]}")
        yield address


def decentralized(box: Box, setting: Setting, ranks: Callable[..., str]) -> dict[str, Any]:
    """Run the workflow by mpiflow, which knows nothing of earlier runs; its clock ends when every rank knows that all is done."""
    names = [f"D{number}" for number in range(1, setting.hosts + 1)]
    datasets = "".join(f"  {name}: {{file: {box.scratch}/{name}.npy}}\n" for name in names)
    step = STEPS[setting.workflow].format(all=" + ".join(names), rest=" + ".join(names[1:]))
    folder = box.shared
    (folder / "ops.py").write_text(OPS.read_text())
    (folder / "workflow.yaml").write_text(f"mpiflow: 1\nname: {setting.workflow}\noperations: [ops.py]\ndatasets:\n{datasets}"
                                          f"steps:\n  answer: {step}\nresults: {{answer: answer.npy}}\n")
    (folder / ".mpiflow" / "history.json").unlink(missing_ok=True)
    ranks(SIDES / "decentral.py", folder, "workflow.yaml", "--record", "record.json")
    record = json.loads((folder / "record.json").read_text())
    links = {host: json.loads((folder / f"{host}.json").read_text()) for host in box.hosts[:setting.hosts]}
    return {"seconds": record["seconds"], "links": links, "messages": sum(blocks for _, _, blocks, _ in record["moved"]),
            "epochs": record["epochs"], "machine": record["machine"]}


if __name__ == "__main__":
    main()
