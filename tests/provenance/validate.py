"""Validate exports with the official tools: RO-Crates with roc-validator, PROV-JSON with prov, WfFormat with its JSON Schema.

These bring 40 packages that nothing else needs, so they have an environment of their own:

    python3.11 -m venv .venv-crate
    .venv-crate/bin/pip install roc-validator prov
    .venv-crate/bin/pip install --no-deps 'rocrate==0.13.0'      # has the context of RO-Crate 1.1 as a file
    .venv-crate/bin/python tests/provenance/validate.py CRATE... PROV.json...
    .venv/bin/python tests/provenance/validate.py --schema wfcommons-schema.json WFFORMAT.json...

The context of RO-Crate 1.1 comes from the package rocrate instead of w3id.org, so that no network is needed. All required
checks of the profile must pass; recommended ones that do not are listed. Exit status 1 if anything is not valid. The schema of
WfFormat 1.5 is in no package (wfcommons asks GitHub for it), but in the repository wfcommons/WfFormat; since October 2024 names
may have a # in it.
"""

import importlib.util
import io
import json
import sys
import urllib.request
import urllib.response
from email.message import Message
from pathlib import Path

CONTEXT = "https://w3id.org/ro/crate/1.1/context"


def context():
    """The text of the context."""
    folder = Path(importlib.util.find_spec("rocrate").origin).parent
    text = (folder / "data/ro-crate.jsonld").read_bytes()
    assert CONTEXT.encode() in text[:200], "another context: install rocrate==0.13.0"
    return text


class Handler(urllib.request.HTTPSHandler):
    """Gives the context, and nothing else of the network."""

    def https_open(self, request):
        if request.full_url != CONTEXT:
            raise OSError(f"{request.full_url}: not asked for in a test")
        headers = Message()
        headers["Content-Type"] = "application/ld+json"
        return urllib.response.addinfourl(io.BytesIO(context()), headers, request.full_url, 200)


def validate_crate(folder, severity):
    from rocrate_validator import models, services
    from rocrate_validator.utils.http import HttpRequester

    class Answer:
        status_code, ok, content, text = 200, True, context(), context().decode()
        headers = {"Content-Type": "application/ld+json"}       # noqa: RUF012

        def json(self):
            return json.loads(self.content)

        def raise_for_status(self):
            pass

    def get(self, url, **options):
        assert str(url) == CONTEXT, url
        return Answer()

    HttpRequester.get = HttpRequester.head = get
    settings = services.ValidationSettings(
        rocrate_uri=str(folder), profile_identifier="provenance-run-crate", no_cache=True, skip_availability_check=True,
        requirement_severity=models.Severity[severity])
    return [f"{issue.severity.name}: {issue.message} ({getattr(issue, 'violatingEntity', '')})"
            for issue in services.validate(settings).get_issues()]


def validate_prov(file):
    from prov.model import ProvDocument
    document = ProvDocument.deserialize(file, format="json")
    again = ProvDocument.deserialize(content=document.serialize(format="json"), format="json")
    document.unified().get_provn()
    return [] if again == document else ["it is another document after a round trip"]


def validate_wfformat(file, schema):
    from jsonschema import Draft202012Validator
    found = Draft202012Validator(json.loads(Path(schema).read_text())).iter_errors(json.loads(Path(file).read_text()))
    return [f"{one.json_path}: {one.message}" for one in found]


def main():
    if sys.argv[1] == "--schema":
        issues = {file: validate_wfformat(file, sys.argv[2]) for file in sys.argv[3:]}
        for file, wrong in issues.items():
            print(f"{file}: {'NOT VALID' if wrong else 'valid'}", *wrong, sep="\n  ")
        return int(any(issues.values()))
    urllib.request.install_opener(urllib.request.build_opener(Handler))
    wrong = 0
    for word in sys.argv[1:]:
        crate = Path(word).is_dir()
        issues = validate_crate(word, "REQUIRED") if crate else validate_prov(word)
        print(f"{word}: {'valid' if not issues else 'NOT VALID'}", *issues, sep="\n  ")
        if crate and not issues:
            print(*sorted(set(validate_crate(word, "RECOMMENDED"))), sep="\n  ")
        wrong += bool(issues)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
