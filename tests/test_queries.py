"""Queries for datasets: what fits, and errors that point at the place."""

import pytest

from mpiflow.catalog.queries import Facts, parse_query
from mpiflow.errors import LaunchError

RMSF = Facts({"name": ["rmsf"], "tag": ["md", "result"], "unit": ["angstrom"], "id": ["8f3a01", "77"], "step": ["fit and more"]},
             {"size": [2.0 * 2**30], "rank": [1, 3], "age": [3600.0], "blocks": [4]})


@pytest.mark.parametrize("text", [
    "", "rmsf", "rm*", "name:rmsf", "tag:md", "tag:md and size>1GiB", "tag:md size>1GiB", "not tag:raw", "tag:raw or rmsf",
    "tag:raw or not tag:raw and name:r?sf", "(tag:raw or tag:md) and rank=3", "rank:1", "rank>2", "age<2h", "age>=60m", "id:8f3",
    'step:"fit and more"', "step='fit and more'", "unit!=nm", "size > 0", "size<=2GiB", "blocks!=3", "not(tag:raw)",
    "not not rmsf", "tag:[lm]d", "size=2GiB"])
def test_this_fits(text):
    assert parse_query(text)(RMSF)


@pytest.mark.parametrize("text", [
    "rms", "tag:raw", "tag:md and size>2GiB", "not tag:md", "tag:raw or name:x", "(tag:md or x) and rank=2", "age<1h", "id:3a01",
    "unit!=angstrom", "tag:md not rmsf", "ndim>0", "not (tag:md or x)", "step:fit"])
def test_this_does_not_fit(text):
    assert not parse_query(text)(RMSF)


@pytest.mark.parametrize(("text", "message", "place"), [
    ("tag:md and szie>1GiB", "no key 'szie'; did you mean 'size'?", 11),
    ("what:x", "no key 'what' (keys: name, step, tag", 0),
    ("size>big", "'big' is no value for 'size'; write for example size>1GiB", 5),
    ("age<2y", "'2y' is no value for 'age'; write for example age>2d", 4),
    ("tag>md", "'tag' is a text: write tag:md", 3),
    ("rmsf and", "something to look for is missing here", 8),
    ("or x", "something to look for is missing here", 0),
    ("not", "something to look for is missing here", 3),
    ("size>", "size> of what? A value is missing here", 5),
    ("(tag:md", "this bracket is never closed", 0),
    ("tag:md)", "')' is not expected here", 6),
    ("  name:'a b", "this quote has no end", 7),
    ("x > y", "no key 'x'", 0),
    (": x", "something to look for is missing here", 0),
    ("a ! b", "'!' means nothing here", 2)])
def test_an_error_points_at_its_place(text, message, place):
    with pytest.raises(LaunchError) as raised:
        parse_query(text)
    first, shown, arrow = str(raised.value).splitlines()
    assert message in first and shown == f"  {text}" and arrow == f"  {' ' * place}^"
