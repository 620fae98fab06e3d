"""The report as a page: what goes in, and that no text of a user comes out as markup. How it looks is in ``test_page``."""

import json
import re
from importlib.resources import files

import pytest
from made_up import made_up

from mpiflow.report.html import page

NASTY = "</script><script>document.title='hacked'</script><!--<img src=x onerror=\"document.title='hacked'\">&amp;{{data}}"


@pytest.fixture(scope="module")
def record():
    return made_up(size=4, blocks=8, temperatures=3, seeds=4)


def nasty(record):
    """Put markup wherever a user's text can be."""
    text = json.loads(json.dumps(record))
    task = next(task for task in text["tasks"] if task["state"] == "failed")
    task.update(error=NASTY, parameters={NASTY: NASTY}, instance=NASTY)
    text["tasks"][0]["step"] = NASTY
    text.update(name=NASTY, warnings=[NASTY], documents={NASTY: NASTY}, hosts=[NASTY] * 4, command=[NASTY])
    text["datasets"][NASTY] = {"id": NASTY, "tasks": [0], "unit": NASTY, "tags": [NASTY]}
    return text


def embedded(text):
    """What the page reads."""
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(data)


def test_a_page_holds_its_record(record):
    data = embedded(page(record, refresh=3))
    steps = [data["tasks"]["step"]["words"][place] for place in data["tasks"]["step"]["places"]]
    assert steps == [task["step"] for task in record["tasks"]]
    assert data["tasks"]["needs"] == [task["needs"] for task in record["tasks"]]
    assert (data["name"], data["refresh"], len(data["critical"]) > 0) == ("adk-landscape", 3, True)


def test_no_text_of_a_user_is_markup(record):
    results = [{"file": NASTY, "written": True, "previews": [{"name": NASTY, "kind": "text", "text": NASTY}]}]
    text = page(nasty(record), results)
    plain = page(record)
    for sign in ("<script", "</script", "<!--", "<img"):
        assert text.count(sign) == plain.count(sign), sign
    data = embedded(text)
    assert data["name"] == NASTY and data["results"] == results and NASTY in data["tasks"]["error"]


def test_a_page_asks_for_nothing(record):
    text = page(record).replace(files("mpiflow.report").joinpath("page/vendor/echarts.min.js").read_text(), "")
    assert "default-src 'none'" in text and len(text) < 500_000
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*\s(?:src|href)=\"(?!data:)", text)
    assert "@import" not in text and "sourceMappingURL" not in text


def test_numbers_that_json_does_not_know_and_broken_letters_go_through(record):
    odd = json.loads(json.dumps(record)) | {"name": "a\udc80b", "seconds": float("nan")}
    text = page(odd)
    assert text.encode() and embedded(text)["seconds"] == "nan"


def test_records_of_older_versions_have_a_page(record):
    old = {name: record[name] for name in ("name", "started", "hosts", "seconds", "moved", "plan", "datasets", "status")}
    fields = ("task", "id", "kind", "step", "operation", "needs", "rank", "state", "start", "seconds", "nbytes", "error")
    old["tasks"] = [{name: task[name] for name in fields} for task in record["tasks"]]
    assert embedded(page(old))["transfers"] == []
