"""What ranks tell each other: what is written can be read, and nothing else can."""

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiflow.catalog.entries import Complaint, Delta, Hello, SourceEntry, TaskEntry, Traffic, decode_delta, decode_hello, encode
from mpiflow.catalog.states import State

law = settings(derandomize=True, deadline=None)
count = st.integers(0, 2**63 - 1)
text = st.text(max_size=20)
seconds = st.floats(0, 1e9)
forms = st.lists(st.tuples(text, text, st.lists(count, max_size=3).map(tuple)), max_size=2).map(tuple)
tasks = st.builds(TaskEntry, count, count, st.sampled_from(State), st.integers(-1, 2**31), seconds, seconds, count, forms, text)
traffic = st.builds(Traffic, count, st.lists(st.tuples(count, count, count), max_size=3).map(tuple))
records = st.lists(st.binary(min_size=32, max_size=32), max_size=2).map(b"".join)
deltas = st.builds(
    Delta, count, st.integers(0, 2**64 - 1), st.booleans(), traffic, st.lists(tasks, max_size=3).map(tuple), seconds,
    st.booleans(), count, records, st.lists(forms, max_size=2).map(tuple))
shapes = st.lists(count, max_size=3).map(tuple)
times, inodes = st.integers(-2**63, 2**63 - 1), st.integers(0, 2**64 - 1)
sources = st.builds(SourceEntry, text, text, count, times, inodes, shapes, text, text, shapes)
complaints = st.builds(Complaint, text, count, count, text)
hellos = st.builds(
    Hello, count, text, text, text, st.lists(text, max_size=2).map(tuple), st.lists(complaints, max_size=2).map(tuple),
    st.lists(sources, max_size=2).map(tuple))


@law
@given(deltas)
def test_a_delta_survives_the_wire(delta):
    assert decode_delta(encode(delta)) == delta


@law
@given(hellos)
def test_a_hello_survives_the_wire(hello):
    assert decode_hello(encode(hello)) == hello


@law
@given(deltas)
def test_a_delta_can_be_read_where_it_was_received(delta):
    assert decode_delta(memoryview(bytearray(encode(delta)))) == delta


@pytest.mark.parametrize("decode", [decode_delta, decode_hello])
@law
@given(data=st.one_of(st.binary(max_size=60), deltas.map(encode), hellos.map(encode)), place=st.integers(0, 500),
       junk=st.binary(max_size=3), keep=st.booleans())
def test_any_bytes_give_a_message_or_a_validation_error(decode, data, place, junk, keep):
    place %= len(data) + 1
    spoiled = data[:place] + junk + (data[place + len(junk):] if keep else b"")
    try:
        message = decode(spoiled)
    except msgspec.ValidationError:
        return
    assert decode(encode(message)) == message


@pytest.mark.parametrize("data", [
    b"", b"\xc1", b"\x91" * 10_000, b"\x97\x01\xa1\xff\xa0\xa0\x90\x90\x90", b"\x95\x00\x00\xc2\x92\x00\x90\x90\x00",
], ids=["nothing", "reserved", "deep", "not UTF-8", "more behind it"])
@pytest.mark.parametrize("decode", [decode_delta, decode_hello])
def test_bytes_that_are_no_message_say_so(decode, data):
    with pytest.raises(msgspec.ValidationError, match=r"^not a (Delta|Hello): "):
        decode(data)


def test_a_state_that_does_not_exist_is_refused():
    wrong = msgspec.msgpack.encode([0, 0, False, [0, []], [[7, 0, 9]]])
    with pytest.raises(msgspec.ValidationError, match="Invalid enum value 9"):
        decode_delta(wrong)


def test_records_that_are_cut_off_are_refused():
    assert decode_delta(encode(Delta(3, 0, done=bytes(64)))).ended() == 2 * [TaskEntry(0, state=State.DONE, rank=3)]
    with pytest.raises(msgspec.ValidationError, match=r"^not a Delta: 63 bytes"):
        decode_delta(encode(Delta(3, 0, done=bytes(63))))


def test_of_two_entries_of_a_task_the_later_attempt_is_greater_whatever_its_state():
    assert TaskEntry(3, attempt=1) > TaskEntry(3, attempt=0, state=State.DONE, rank=9, error="x")


def test_of_two_entries_of_an_attempt_the_later_state_is_greater():
    assert TaskEntry(3, state=State.FAILED, rank=0) > TaskEntry(3, state=State.RUNNING, rank=5, start=1.0)


@law
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=20))
def test_progress_orders_the_reports_of_a_rank_in_time(events):
    reports, received, sent = [Traffic()], 0, {}
    for is_arrival, rank in events:
        received += is_arrival
        if not is_arrival:
            sent[rank] = sent.get(rank, 0) + 1
        reports.append(Traffic(received, tuple((to, num, 8 * num) for to, num in sorted(sent.items()))))
    assert all(one.progress < other.progress for one, other in itertools.pairwise(reports))


def test_blocks_sent_are_counted_over_all_ranks():
    assert Traffic(1, ((0, 2, 16), (4, 3, 24))).num_sent == 5
