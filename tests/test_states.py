"""The states of a task: every way from one to another leads forward."""

from itertools import product

import pytest

from mpiflow.catalog.states import TRANSITIONS, Change, State, advance
from mpiflow.errors import InternalError


@pytest.mark.parametrize(("step", "after"), TRANSITIONS.items(), ids=str)
def test_every_transition_increases_the_state(step, after):
    assert advance(*step) is after and after > step[0]


@pytest.mark.parametrize("step", [step for step in product(State, Change) if step not in TRANSITIONS], ids=str)
def test_every_other_change_is_refused(step):
    with pytest.raises(InternalError, match=f"{step[0].name} cannot {step[1].name.lower()}"):
        advance(*step)


def test_nothing_follows_a_final_state():
    assert not [state for state, _ in TRANSITIONS if state.final]


def test_from_every_other_state_something_can_follow():
    assert {state for state, _ in TRANSITIONS} == {state for state in State if not state.final}


def test_every_state_but_the_first_can_be_reached():
    assert set(TRANSITIONS.values()) == set(State) - {State.PLANNED}
