"""Reading manifests: what is written arrives in the spine's nouns, and every kind of mistake has its message."""

from __future__ import annotations

from pathlib import Path

import pytest

from hanse.core.fabric import Grade, Power, Price, Resources, Tier
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, Digest, OperatorId, SiteId, WorkloadId
from hanse.core.work import Budget, Data, Egress, Objective, Route, Slo, Sovereignty
from hanse.manifest import ManifestError, ManifestProblem, Manifests, load
from hanse.wire.canonical import digest_of

EXAMPLES = Path(__file__).parents[3] / "examples"
DIGEST = Digest("sha256:" + "0" * 64)

DESIGN = """\
apiVersion: hanse.dev/v1
kind: Function
metadata: {name: triage, namespace: clinic}
spec:
  source: ./triage.py
  route: {path: /triage}
  resources: {memory: 64Mi}
  slo:
    latency: {p99: 40ms, from: [Berlin, Lyon, Vienna]}
    availability: 99.95%
  data: {classes: [health], subjects: [EEA]}
  sovereignty: {packs: [gdpr, hipaa], seal: {legal: 3, operational: 2}, control: {exclude: [US, CN]}}
  objective: {cost: 1.0, carbon: 60 EUR/t}
  budget: {cost: 40 EUR/month, carbon: 3 kg/month}
  egress: [{host: api.example.org, jurisdiction: DE}]
"""


def function(name: str = "f", spec: str = "", path: str = "/f", namespace: str = "default") -> str:
    return (
        f"apiVersion: hanse.dev/v1\nkind: Function\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec:\n  source: f.py\n  route: {{path: {path}}}\n{spec}"
    )


def problems(*texts: str) -> tuple[ManifestProblem, ...]:
    with pytest.raises(ManifestError) as caught:
        load([(f"{index}.yaml", text) for index, text in enumerate(texts)])
    assert caught.value.code == "manifest.invalid"
    return caught.value.problems


def only(*texts: str) -> ManifestProblem:
    found = problems(*texts)
    assert len(found) == 1, [problem.render() for problem in found]
    return found[0]


def test_the_manifest_of_the_design_becomes_a_workload_in_named_units() -> None:
    (document,) = load([("triage.yaml", DESIGN)]).functions
    workload = document.to_workload(DIGEST, 1_000, 7)
    assert workload.id == WorkloadId("clinic.triage")
    assert (workload.artifact, workload.artifact_bytes, workload.generation) == (DIGEST, 1_000, 7)
    assert workload.route == Route(path="/triage")
    assert workload.resources == Resources(cpu_milli=100, memory_bytes=64 * 2**20)
    assert workload.slo == Slo(latency_p99_us=40_000, origins=("Berlin", "Lyon", "Vienna"), availability_ppm=999_500)
    assert workload.data == Data(classes=("health",), subjects=("EEA",))
    assert workload.sovereignty == Sovereignty(
        packs=("gdpr", "hipaa"),
        seal={"legal": 3, "operational": 2},
        control_exclude=(CountryCode("US"), CountryCode("CN")),
    )
    assert workload.objective == Objective(cost_milli=1_000, carbon_microeur_per_t=60_000_000)
    assert workload.budget == Budget(cost_microeur_month=40_000_000, carbon_ug_month=3_000_000_000)
    assert workload.egress == (Egress(host="api.example.org", jurisdiction="DE"),)
    assert workload.timeout_us == 10_000_000
    assert document.source == "./triage.py"
    assert (document.where.file, document.where.line) == ("triage.yaml", 3)


def test_every_field_of_a_function_can_be_written() -> None:
    spec = """\
  resources: {memory: 1048576, cpu: 0.25}
  sovereignty: {location: {only: [NO, EEA]}, grade: 2}
  egress: [{host: "cache.local:8080", jurisdiction: NO, allowPrivate: true}]
  disruption: {maxUnavailable: 2}
  replicas: 3
  nodeSelector: {tier: edge, hardware: arm64}
  timeout: 250ms
  limits: {requestBody: 1Mi, responseBody: 2Mi}
  env: {LOG_LEVEL: debug, PORT: "8080"}
  budget: {cost: 1.2 EUR/year}
"""
    (document,) = load([("f.yaml", function(spec=spec))]).functions
    assert document.resources == Resources(cpu_milli=250, memory_bytes=2**20)
    assert document.sovereignty.location_only == ("NO", "EEA")
    assert document.sovereignty.grade == 2
    assert document.egress == (Egress(host="cache.local:8080", jurisdiction="NO", allow_private=True),)
    assert document.disruption.max_unavailable == 2
    assert document.replicas == 3
    assert list(document.node_selector.items()) == [("hardware", "arm64"), ("tier", "edge")]
    assert document.timeout_us == 250_000
    assert (document.request_body_bytes, document.response_body_bytes) == (2**20, 2 * 2**20)
    assert document.env == {"LOG_LEVEL": "debug", "PORT": "8080"}
    assert document.budget.cost_microeur_month == 100_000


def test_plain_words_stay_words() -> None:
    """YAML 1.1 would make false, a sum of sixties, octal seven and a date of these."""
    spec = '  env: {A: NO, B: 12:30:45, C: 007, D: 2026-11-21, E: 1_000, F: 0x1F, G: ~x, H: "true", I: .inf}\n'
    (document,) = load([("f.yaml", function(spec=spec))]).functions
    said = ["NO", "12:30:45", "007", "2026-11-21", "1_000", "0x1F", "~x", "true", ".inf"]
    assert list(document.env.values()) == said


def test_the_example_fabric_has_the_shape_the_tour_needs() -> None:
    text = (EXAMPLES / "fabric/europe.yaml").read_text(encoding="utf-8")
    fabric = load([("europe.yaml", text)]).fabric()
    assert digest_of(fabric) == digest_of(load([("europe.yaml", text)]).fabric())
    assert len(fabric.nodes) == 6
    assert len({site.country for site in fabric.sites.values()}) >= 5
    assert len(fabric.operators) == 3
    assert {node.tier for node in fabric.nodes.values()} == {Tier.CORE, Tier.REGIONAL, Tier.EDGE}
    controlled = [op.id for op in fabric.operators.values() if any(p.country == "US" for p in op.parents)]
    assert controlled == [OperatorId("nimbus")]
    node = fabric.nodes[min(fabric.nodes)]
    assert node.id == "dub-1"
    assert node.price == Price(
        cpu_core_hour_microeur=22_000, memory_gib_hour_microeur=3_000, egress_gib_microeur=70_000
    )
    assert node.power == Power(idle_mw=140_000, per_core_mw=6_000)
    assert node.grade == Grade.CERTIFIED
    site = fabric.sites[SiteId("stockholm")]
    assert site.place == Place(city="Stockholm", latitude_deg=59.3293, longitude_deg=18.0686)
    assert (site.grid_zone, site.pue_permille) == ("SE-SE3", 1_100)
    holder = fabric.operators[OperatorId("helvetia")].parents[1]
    assert (holder.share_permille, holder.has_veto) == (300, True)


@pytest.mark.parametrize("name", ["triage", "tariff", "refused"])
def test_the_example_functions_load(name: str) -> None:
    path = EXAMPLES / "functions" / name / "function.yaml"
    (document,) = load([(path.name, path.read_text(encoding="utf-8"))]).functions
    assert (path.parent / document.source).is_file()


def test_documents_come_out_in_id_order_whatever_order_they_were_given_in() -> None:
    one, two = function("b", path="/b"), function("a", path="/a", namespace="z")
    forth = load([("x", one), ("y", two)])
    back = load([("y", two), ("x", one)])
    assert [item.id for item in forth.functions] == ["default.b", "z.a"] == [item.id for item in back.functions]


def test_nothing_declared_is_an_empty_result() -> None:
    assert load([]) == Manifests()


BAD_SPECS = [
    ("  memroy: 64Mi\n", "spec.memroy", "unknown field", "accepted: "),
    ("  resources: {memroy: 64Mi}\n", "spec.resources.memroy", "unknown field", "did you mean `memory`?"),
    ("  resources: {memory: 64MB}\n", "spec.resources.memory", "unknown unit 'MB'", "64Mi"),
    ("  resources: {memory: 8Gi}\n", "spec.resources.memory", "out of range", "1Mi to 4Gi"),
    ("  resources: {memory: [1]}\n", "spec.resources.memory", "not an amount of memory", "64Mi"),
    ("  resources: []\n", "spec.resources", "expected a mapping, found a list", "{key: value}"),
    ("  timeout: 5\n", "spec.timeout", "5 has no unit", "10s"),
    ("  timeout: 0s\n", "spec.timeout", "out of range", "1ms to 15m"),
    ("  slo: {availability: 100%}\n", "spec.slo.availability", "out of range", "99.9999%"),
    ("  slo: {availability: 0.999}\n", "spec.slo.availability", "0.999 has no unit", "99.95%"),
    ("  slo: {latency: {from: [Berlin]}}\n", "spec.slo.latency", "is one of p99", "p99: 40ms"),
    ("  slo: {latency: {p99: 4ms, from: []}}\n", "spec.slo.latency.from", "empty list", "at least 1"),
    ("  slo: {latency: {p99: 4ms, from: Bonn}}\n", "spec.slo.latency.from", "expected a list, found text", "[a, b]"),
    ("  budget: {cost: 40 USD/month}\n", "spec.budget.cost", "unknown unit 'USD'", "EUR"),
    ("  budget: {cost: 40 EUR}\n", "spec.budget.cost", "not a rate", "40 EUR/month"),
    ("  budget: {carbon: 3 kg/fortnight}\n", "spec.budget.carbon", "not a rate", "month"),
    ("  objective: {carbon: 60}\n", "spec.objective.carbon", "60 has no unit", "60 EUR/t"),
    ("  objective: {cost: 0.0001}\n", "spec.objective.cost", "steps of 0.001", "1.0"),
    ("  replicas: two\n", "spec.replicas", "expected a whole number, found text 'two'", "digits"),
    ("  replicas: 1.5\n", "spec.replicas", "expected a whole number", "digits"),
    ("  replicas: 0\n", "spec.replicas", "out of range: 0", "at least 1"),
    ("  env: {PORT: 8080}\n", "spec.env.PORT", "expected text, found 8080", "quotes"),
    ("  env: {1X: a}\n", "spec.env.1X", "not a variable name", "letters"),
    ("  egress: [{host: 'https://x.org', jurisdiction: DE}]\n", "spec.egress[0].host", "not a host name", "scheme"),
    ("  egress: [{host: 'x.org:0', jurisdiction: DE}]\n", "spec.egress[0].host", "not a host name", ":port"),
    ("  egress: [{host: 'x.org:99999', jurisdiction: DE}]\n", "spec.egress[0].host", "not a host name", ":port"),
    ("  egress: [{host: x.org}]\n", "spec.egress[0].jurisdiction", "missing field", "jurisdiction"),
    (
        "  egress: [{host: x.org, jurisdiction: DE, allowPrivate: 1}]\n",
        "spec.egress[0].allowPrivate",
        "true or",
        "true",
    ),
    ("  sovereignty: {seal: {legal: 7}}\n", "spec.sovereignty.seal.legal", "out of range: 7", "at most 4"),
    ("  sovereignty: {control: {exclude: [UK]}}\n", "spec.sovereignty.control.exclude[0]", "not a country", "`GB`"),
    ("  data: {classes: [Health]}\n", "spec.data.classes[0]", "not a label", "RFC 1123"),
    ("  route: {path: /f}\n", "spec.route", "duplicate key", "line 6"),
    ("  nodeSelector: {'a b': c}\n", "spec.nodeSelector.a b", "not a label key", "63"),
]


@pytest.mark.parametrize(("spec", "field", "message", "fix"), BAD_SPECS, ids=lambda value: str(value)[:40])
def test_a_bad_field_is_named_with_its_line_and_its_fix(spec: str, field: str, message: str, fix: str) -> None:
    problem = only(function(spec=spec))
    assert problem.field == field
    assert message in problem.message
    assert fix in problem.fix
    assert (problem.file, problem.line) == ("0.yaml", 7)


BAD_DOCUMENTS = [
    ("", "", "no document", ""),
    ("# nothing\n---\n", "", "no document", ""),
    ("just text\n", "", "not a mapping", "apiVersion"),
    ("kind: Functoin\n", "kind", "unknown kind 'Functoin'", "did you mean `Function`?"),
    ("kind: Model\n", "kind", "kind Model is not yet supported in this version", "Function, Service, Job, Dataset"),
    ("kind: [Function]\n", "kind", "unknown kind", "accepted"),
    ("apiVersion: hanse.dev/v1\n", "", "missing field `kind`", "Function"),
    ("a: [1, 2\nb: 3\n", "", "not YAML", "brackets"),
    ("a:\n\t- b\n", "", "not YAML", "spaces"),
    ("a: b: c\n", "", "not YAML", "colon"),
    ("a: &x [1]\nb: *x\n", "", "anchors and aliases", "write the value out"),
    ("a: *x\n", "", "anchors and aliases", "write the value out"),
    ("a: !!python/object:os.system {}\n", "", "tags are not accepted", "remove"),
    ("a: " + "[" * 40 + "]" * 40, "", "nested too deeply", "32"),
    ("? [a]\n: b\n", "", "a key that is a list", "words"),
    ("a: \x01\n", "", "not YAML", ""),
    ("#" * (2**20 + 1), "", "file too large", "1,048,576"),
]


@pytest.mark.parametrize(("text", "field", "message", "fix"), BAD_DOCUMENTS, ids=lambda value: str(value)[:25])
def test_a_file_that_cannot_be_read_says_so(text: str, field: str, message: str, fix: str) -> None:
    problem = only(text)
    assert problem.field == field
    assert message in problem.message
    assert fix in problem.fix


def test_an_alias_bomb_is_refused_before_it_expands() -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 60)]
    assert "anchors" in only("l0: &l0 [lol]\n" + "\n".join(levels)).message


def test_a_repeated_name_points_at_the_first() -> None:
    problem = only(function("f", path="/a"), function("f", path="/b"))
    assert (problem.file, problem.line, problem.field) == ("1.yaml", 3, "metadata.name")
    assert problem.message == "duplicate name: Function default/f"
    assert "0.yaml:3" in problem.fix


def test_the_same_name_in_another_namespace_or_kind_is_another_thing() -> None:
    operator = "apiVersion: hanse.dev/v1\nkind: Operator\nmetadata: {name: f}\nspec: {name: F, seat: DE}\n"
    loaded = load([("a", function("f", path="/a")), ("b", function("f", path="/b", namespace="x")), ("c", operator)])
    assert len(loaded.functions) == 2
    assert len(loaded.operators) == 1


@pytest.mark.parametrize(("first", "second"), [("/a", "/a"), ("/a", "/a/"), ("/a/", "/a"), ("/", "/")])
def test_two_functions_that_claim_one_route_are_refused(first: str, second: str) -> None:
    problem = only(function("f", path=first), function("g", path=second))
    assert problem.field == "spec.route.path"
    assert "already claimed by default/f" in problem.message
    assert "0.yaml:3" in problem.fix


def test_a_longer_prefix_and_another_host_are_other_routes() -> None:
    hosted = function("h", path="'/a', host: x.example.org")
    assert len(load([("a", function("f", path="/a")), ("b", function("g", path="/a/b")), ("c", hosted)]).functions) == 3


def test_a_node_that_names_no_declared_site_or_operator_is_refused_when_the_fabric_is_joined() -> None:
    text = (EXAMPLES / "fabric/europe.yaml").read_text(encoding="utf-8")
    text = text.replace("site: warsaw", "site: warschau").replace("operator: nimbus", "operator: cumulus")
    manifests = load([("europe.yaml", text)])
    with pytest.raises(ManifestError) as caught:
        manifests.fabric()
    assert [problem.field for problem in caught.value.problems] == ["spec.operator", "spec.site"]
    assert "did you mean `warsaw`?" in caught.value.problems[1].fix


def test_what_stands_before_a_fault_of_syntax_is_still_checked() -> None:
    found = problems(function(spec="  replicas: 0\n") + "---\na: [\n")
    assert [problem.message.split(":")[0] for problem in found] == ["out of range", "not YAML"]
