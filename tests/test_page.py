"""The report in a real browser, as a user meets it: opened, clicked, searched; with 2,000 tasks on 64 ranks."""

import json
import struct

import pytest
from browser import Browser
from made_up import made_up
from test_html import NASTY, nasty

from mpiflow.report.html import page
from mpiflow.report.inline import report_html

PARTS = ("overview", "workflow", "timeline", "bytes", "memory", "critical", "accuracy", "failures", "results", "provenance")
RESULTS = [{"file": "/work/results/modes.h5", "written": True, "previews": [
    {"name": "modes", "dtype": "float64", "shape": [40, 90], "unit": "nm", "kind": "image", "first": 1,
     "rows": [[(row - 20) * column for column in range(90)] for row in range(40)]},
    {"name": "rmsf", "dtype": "float64", "shape": [50], "kind": "line", "step": 1, "x": list(range(50)),
     "low": [(x - 25) ** 2 for x in range(50)], "high": [(x - 25) ** 2 for x in range(50)]},
    {"name": "table", "dtype": "table", "shape": [90], "kind": "table", "columns": ["T", "energy"], "rows": [[250, -1.25]] * 12},
    {"name": "share", "dtype": "float64", "shape": [], "kind": "value", "value": 0.25}]}]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(page(made_up(), RESULTS))
    return f"file://{file}"


@pytest.fixture
def opened(browser, large):
    """The report on a light desktop of 1280 pixels; whatever it does, nothing may be wrong with it."""
    browser.requests.clear()
    browser.complaints.clear()
    browser.look(1280, 800)
    browser.evaluate("sessionStorage.clear()") if browser.evaluate("location.protocol") == "file:" else None
    browser.open(large)
    yield browser
    assert browser.complaints == []
    assert {url.split("#")[0] for url in browser.requests} == {large}


def text(browser, selector):
    return browser.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")


def middle(browser, share=0.5):
    """A place on the chart: at this share of its width, in the middle of its height."""
    return browser.evaluate(f"(() => {{ const box = document.querySelector('main canvas').getBoundingClientRect();"
                            f" return [box.x + box.width * {share}, box.y + box.height / 2]; }})()")


def test_it_opens_in_less_than_two_seconds_of_a_core(opened, large):
    opened.call("Performance.enable", timeDomain="threadTicks")     # other programs on this machine do not count
    opened.open(large)
    spent = {one["name"]: one["value"] for one in opened.call("Performance.getMetrics")["metrics"]}
    opened.call("Performance.disable")
    assert 0 < spent["TaskDuration"] < 2
    assert text(opened, "#name") == "adk-landscape" and "failed" in text(opened, "#status")
    assert "2,004" in text(opened, ".figures") and "fit[T=260]" in text(opened, ".alert")


@pytest.mark.parametrize(("width", "height", "dark"), [(1280, 800, False), (1920, 1080, True)], ids=["1280 light", "1920 dark"])
def test_every_part_is_drawn_and_fits(opened, large, width, height, dark):
    opened.look(width, height, dark)
    opened.open(large)
    paper = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(18, 22, 29)" if dark else "rgb(255, 255, 255)")
    for name in PARTS:
        opened.click(f"#tab-{name}")
        assert opened.evaluate(f"document.querySelector('#tab-{name}').getAttribute('aria-selected')") == "true"
        wide = opened.evaluate("[...document.querySelectorAll('body, main')].map(one => one.scrollWidth - one.clientWidth)")
        assert max(wide) <= 0, name
        picture = opened.screenshot()
        assert struct.unpack(">II", picture[16:24]) == (width, height) and len(picture) > 20_000, name


def test_the_search_finds_steps_tasks_and_datasets_and_shows_details(opened):
    opened.press("/")
    opened.type("sweep T=300 seed=7")
    assert text(opened, "#found .option b") == "sweep[T=300,seed=7]"
    opened.press("Enter")
    assert "sweep[T=300,seed=7]" in text(opened, "#details") and "langevin" in text(opened, "#details")
    opened.press("Escape")
    assert opened.evaluate("document.querySelector('#details').hidden")
    opened.press("/")
    opened.type("md")                                           # a tag
    found = opened.evaluate("[...document.querySelectorAll('#found .option b')].map(one => one.textContent)")
    assert {"trajectory", "aligned"} <= set(found)
    opened.type(" nowhere")
    assert "Nothing has all of these words" in text(opened, "#found")


def test_it_can_be_used_by_keyboard_alone(opened):
    opened.evaluate("document.querySelector('#tab-overview').focus()")
    opened.press("ArrowRight")
    assert opened.evaluate("document.activeElement.id") == "tab-workflow"
    opened.press("6")
    assert "Time along the path" in text(opened, "main")
    opened.press("2")
    opened.evaluate("document.querySelector('[role=application]').focus()")
    for key in ("+", "ArrowLeft", "-"):
        opened.press(key)


def test_a_click_on_a_bar_of_the_timeline_shows_its_task(opened):
    opened.click("#tab-timeline")
    opened.click_at(*middle(opened, 0.7))
    assert "Task #" in text(opened, "#details") and "sweep[T=" in text(opened, "#details h2")
    opened.click("main button", "Critical path")
    opened.click("main button", "Transfers")
    opened.click("main button", "As planned")
    assert "sweep" in text(opened, ".legend")


def test_a_step_of_the_graph_opens_into_its_instances(opened):
    opened.click("#tab-workflow")
    assert "11 nodes" in text(opened, ".bar")
    opened.click("main button", "Open all small steps")
    assert "26 nodes" in text(opened, ".bar")
    opened.click("main button", "Close all")
    opened.click("main button", "Fit")
    opened.click_at(*middle(opened))                            # nothing is there or a node; both are right
    assert "11 nodes" in text(opened, ".bar")


def test_tracebacks_and_what_they_kept_from_running_are_shown(opened):
    opened.click("button", "Show tracebacks")
    assert "numpy.linalg.LinAlgError: Singular matrix" in text(opened, "main pre")
    assert "summary" in text(opened, "main .note")


def test_colours_can_be_switched_and_stay_when_it_is_opened_again(opened, large):
    theme = "document.documentElement.dataset.theme"
    assert opened.evaluate(theme) == "light"
    opened.click("#theme")
    opened.click("#theme")
    assert opened.evaluate(theme) == "dark"
    opened.open(large)
    assert opened.evaluate(theme) == "dark"
    opened.evaluate("sessionStorage.clear()")


def test_lineage_goes_back_to_the_sources(opened):
    opened.click("#tab-provenance")
    assert "trajectory" in text(opened, ".tree") and "MPICH" in text(opened, "main") and "mpiflow: 1" in text(opened, "main pre")


def test_texts_of_users_are_texts(browser, tmp_path):
    file = tmp_path / "nasty.html"
    file.write_text(page(nasty(made_up(size=4, blocks=8, temperatures=3, seeds=4)),
                         [{"file": NASTY, "written": True, "previews": [{"name": NASTY, "kind": "text", "text": NASTY}]}]))
    browser.complaints.clear()
    browser.open(f"file://{file}")
    for name in PARTS:
        browser.click(f"#tab-{name}")
    browser.click("#tab-timeline")
    browser.click_at(*middle(browser, 0.3))
    browser.press("/")
    browser.type("script")
    assert browser.evaluate("document.title").startswith("</script>") and text(browser, "#name") == NASTY
    assert browser.evaluate("document.querySelectorAll('img').length") == 0 and browser.complaints == []


def test_in_the_frame_of_a_notebook_it_works_as_well(browser, tmp_path):
    file = tmp_path / "notebook.html"
    shown = report_html(page(made_up(size=4, blocks=8, temperatures=3, seeds=4)))
    file.write_text(f"<!doctype html><title>notebook</title>{shown}")
    browser.complaints.clear()
    browser.look(1000, 800)
    browser.open(f"file://{file}")
    inside = "document.querySelector('iframe').contentDocument"
    browser.wait_for(f"{inside}.querySelector('#tab-overview') !== null")
    browser.evaluate(f"{inside}.querySelector('#tab-overview').click()")        # the part that was looked at last is remembered
    browser.wait_for(f"{inside}.querySelector('.figures') !== null")
    browser.evaluate(f"{inside}.querySelector('#tab-timeline').click()")
    browser.wait_for(f"{inside}.querySelector('main canvas') !== null")
    assert browser.evaluate(f"{inside}.querySelector('#name').innerText") == "adk-landscape" and browser.complaints == []
    assert browser.evaluate(f"{inside}.body.scrollWidth - {inside}.body.clientWidth") <= 0


def test_thousands_of_steps_are_shown_by_families(browser, tmp_path):
    record = made_up(size=8, blocks=200, temperatures=20, seeds=60)
    for task in record["tasks"]:
        if task["kind"] != "write":
            task.update(step=f"{task['step']}_{task['task']}", instance="")
    (tmp_path / "steps.html").write_text(page(record | {"datasets": {}}))
    browser.complaints.clear()
    browser.open(f"file://{tmp_path}/steps.html")
    browser.click("#tab-workflow")
    assert 10 < int(text(browser, ".bar .quiet").split()[0]) < 60 and browser.complaints == []


def test_the_page_of_a_run_that_goes_on_reads_itself_again(browser, tmp_path):
    record, file = made_up(size=4, blocks=8, temperatures=3, seeds=4, failing=0), tmp_path / "watched.html"
    file.write_text(page(record | {"status": None}))
    browser.open(f"file://{file}")
    assert "running" in text(browser, "#status")
    browser.click("#tab-timeline")
    file.write_text(page(record | {"status": None}, refresh=0.2))
    browser.open(f"file://{file}")
    file.write_text(page(record))
    browser.wait_for("document.getElementById('status')?.textContent.includes('done')")     # it reads itself in a moment
    browser.wait_for("document.readyState === 'complete'")
    assert browser.evaluate("document.querySelector('#tab-timeline').getAttribute('aria-selected')") == "true"
