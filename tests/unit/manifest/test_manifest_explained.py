"""The errors of a thoroughly wrong manifest, word for word: a person must be able to correct it from this alone."""

from __future__ import annotations

import pytest

from hanse.manifest import ManifestError, load

WRONG = """\
apiVersion: hanse.dev/v1
kind: Function
metadata: {name: Triage, namespace: clinic}
spec:
  source: ./triage.py
  route: {path: triage}
  resources: {memroy: 64Mi}
  slo:
    latency: {p99: 40, from: Berlin}
    availability: 100%
  sovereignty: {control: {exclude: [US, UK]}}
  budget: {cost: 40 USD/month}
  egress: [{host: api.example.org}]
  replicas: "two"
---
apiVersion: hanse.dev/v1
kind: Model
---
apiVersion: v1
kind: Function
metadata: {name: Triage, namespace: clinic}
spec: {source: a.py, route: {path: /a}}
"""

SAID = """\
clinic.yaml:3:18: metadata.name: not a label: 'Triage'
    use 1 to 63 of a-z, 0-9 and -, with no dash at either end (RFC 1123)
clinic.yaml:6:17: spec.route.path: not a path: 'triage'
    begin with `/`; no query, no empty segment, no `.` or `..`
clinic.yaml:7:15: spec.resources.memroy: unknown field
    did you mean `memory`? accepted: bandwidth, cpu, custom, disk, gpu, memory
clinic.yaml:9:20: spec.slo.latency.p99: 40 has no unit
    write it like `40ms`; units: us, ms, s, m, h, d
clinic.yaml:9:30: spec.slo.latency.from: expected a list, found text 'Berlin'
    write it like `[a, b]`, or one item per line after `- `
clinic.yaml:10:19: spec.slo.availability: 100% is out of range
    range: 0% to 99.9999%; no number of replicas gives 100%
clinic.yaml:11:41: spec.sovereignty.control.exclude[1]: not a country code: 'UK'
    ISO 3166-1 writes the United Kingdom `GB`
clinic.yaml:12:18: spec.budget.cost: unknown unit 'USD' for money: '40 USD'
    write it like `40 EUR`; units: EUR
clinic.yaml:13:12: spec.egress[0].jurisdiction: missing field
    add `jurisdiction`: Country or bloc the destination lies in.
clinic.yaml:14:13: spec.replicas: expected a whole number, found text 'two'
    write digits only, without quotes
clinic.yaml:17:7: kind: kind Model is not yet supported in this version
    supported: Function, Service, Job, Dataset, Namespace, Operator, Site, Jurisdiction, Node, Policy, Secret
clinic.yaml:19:13: apiVersion: not accepted: 'v1'
    accepted: 'hanse.dev/v1'
clinic.yaml:21:18: metadata.name: duplicate name: Function clinic/Triage
    it stands first at clinic.yaml:3; rename one of the two
clinic.yaml:21:18: metadata.name: not a label: 'Triage'
    use 1 to 63 of a-z, 0-9 and -, with no dash at either end (RFC 1123)"""


def test_all_mistakes_are_said_at_once_in_words_that_help() -> None:
    with pytest.raises(ManifestError) as caught:
        load([("clinic.yaml", WRONG)])
    assert str(caught.value) == SAID
    assert caught.value.hint == "correct the problems named above and try again"
    assert caught.value.context == {"problems": 14, "files": "clinic.yaml"}
