"""The trace: what the Trace Event Format asks of each kind of event."""

import itertools
import json
from collections import Counter

import pytest
from made_up import made_up

from mpiflow.report.trace import trace

NUMBER = (int, float)
# Fields and their types, from the document of the format; each phase has these besides.
FIELDS = {"name": str, "ph": str, "pid": int, "tid": int}
PHASES = {
    "M": {"args": dict}, "X": {"ts": NUMBER, "dur": NUMBER, "args": dict, "cat": str}, "C": {"ts": NUMBER, "args": dict},
    "s": {"ts": NUMBER, "id": int, "cat": str}, "f": {"ts": NUMBER, "id": int, "cat": str, "bp": str},
    "b": {"ts": NUMBER, "id2": dict, "cat": str}, "e": {"ts": NUMBER, "id2": dict, "cat": str}}


@pytest.fixture(scope="module")
def record():
    return made_up(size=6, blocks=12, temperatures=3, seeds=4)


@pytest.fixture(scope="module")
def events(record):
    return json.loads(json.dumps(trace(record), allow_nan=False))["traceEvents"]


def of(events, phase):
    return [event for event in events if event["ph"] == phase]


def test_every_event_has_the_fields_of_its_phase(events):
    assert {event["ph"] for event in events} == set(PHASES)
    for event in events:
        for name, kind in (FIELDS | PHASES[event["ph"]]).items():
            assert isinstance(event[name], kind), (name, event)
        assert event.get("ts", 0) >= 0 and event.get("dur", 1) > 0


def test_each_rank_is_a_process_with_a_name(record, events):
    names = {event["pid"]: event["args"]["name"] for event in of(events, "M") if event["name"] == "process_name"}
    assert names == {rank: f"rank {rank} on {host}" for rank, host in enumerate(record["hosts"])}


def test_each_task_that_ran_is_a_slice_with_its_arguments(record, events):
    slices = {event["args"]["task"]: event for event in of(events, "X")}
    assert set(slices) == {task["task"] for task in record["tasks"] if task["state"] in ("done", "failed")}
    sweep = next(task for task in record["tasks"] if task["step"] == "sweep")
    event = slices[sweep["task"]]
    assert event["name"] == f"sweep[{sweep['instance']}]" and event["args"]["with T"] == 250
    assert event["ts"] == pytest.approx(sweep["start"] * 1e6, abs=1e-3) and event["pid"] == sweep["rank"]


def test_slices_of_a_rank_do_not_overlap(events):
    for rank in range(6):
        slices = sorted((event["ts"], event["dur"]) for event in of(events, "X") if event["pid"] == rank)
        assert all(start + length <= after + 0.002 for (start, length), (after, _) in itertools.pairwise(slices))


def test_an_arrow_leads_from_within_a_slice_to_within_another_on_another_rank(events):
    slices = of(events, "X")
    ends = {event["id"]: event for event in of(events, "f")}
    assert len(ends) == len(of(events, "f")) == len(of(events, "s")) > 0
    for start in of(events, "s"):
        end = ends[start["id"]]
        assert end["pid"] != start["pid"] and end["bp"] == "e" and (start["name"], start["cat"]) == (end["name"], end["cat"])
        for one in (start, end):
            assert any(event["pid"] == one["pid"] and event["ts"] <= one["ts"] <= event["ts"] + event["dur"] for event in slices)


def test_each_transfer_begins_and_ends_on_the_rank_that_it_comes_to(record, events):
    begun, ended = of(events, "b"), of(events, "e")
    assert Counter(event["pid"] for event in begun) == Counter(rank for _, _, rank, _, _ in record["transfers"])
    ends = {(event["pid"], event["cat"], event["id2"]["local"]): event["ts"] for event in ended}
    assert all(ends[event["pid"], event["cat"], event["id2"]["local"]] > event["ts"] for event in begun)
    assert len(ends) == len(ended) == len(begun)


def test_bytes_that_came_are_counted_up_and_memory_is_as_noted(record, events):
    counters = of(events, "C")
    for rank in range(6):
        came = [event["args"]["bytes"] for event in counters if event["name"] == "received" and event["pid"] == rank]
        assert came == sorted(came)
        assert (came or [0])[-1] == sum(nbytes for _, to, _, nbytes in record["moved"] if to == rank)
    assert sum(event["name"] == "memory" for event in counters) == sum(map(len, record["samples"]))


def test_a_record_without_times_of_transfers_has_a_trace_too(record):
    old = {name: value for name, value in record.items() if name not in ("transfers", "samples", "versions")}
    phases = {event["ph"] for event in trace(old)["traceEvents"]}
    assert phases == {"M", "X", "s", "f"}
