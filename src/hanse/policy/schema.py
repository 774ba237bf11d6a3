"""The Cedar schemas that every rule, fact and request is validated against: about places, requests, and the API.

They stand in code and not beside the packs, because `entities` and the engine build exactly these types: a pack cannot
bring its own. `place`, `read` and `invoke` are asked now; the other actions of the design are declared so that packs
written for them are already checked.
"""

from __future__ import annotations

from typing import Final

import cedarpy

PLACE: Final = "place"
"""The action asked before work is put on a node."""

SEAL_OBJECTIVES: Final = (
    "strategic", "legal", "data", "operational", "supply", "technology", "security", "environment",
)  # fmt: skip
"""The eight objectives of the EU Cloud Sovereignty Framework v1.2.1, SOV-1 to SOV-8 in order."""

WORLD: Final = "world"
"""The jurisdiction that contains every country the facts know."""

SCHEMA_TEXT: Final = """
// A country, or a bloc of countries; a country is in its blocs at the moment of asking.
entity Jurisdiction in [Jurisdiction];
// A class of data; `health` is in `special` is in `personal`.
entity DataClass in [DataClass];

// SEAL levels 0..4 (EU Cloud Sovereignty Framework v1.2.1, SOV-1..SOV-8).
type Seal = {
  strategic: Long, legal: Long, data: Long, operational: Long,
  supply: Long, technology: Long, security: Long, environment: Long,
};

entity Operator = {
  seat: Jurisdiction,
  // Every country whose law reaches the operator: seat, majority holders, holders with a veto, and theirs.
  reach: Set<Jurisdiction>,
  // Blocs that contain every country in `reach`.
  controlled_within: Set<Jurisdiction>,
  seal: Seal,
  // Names of certificates and recorded contracts that have not expired.
  certificates: Set<String>,
  // Names of those whose credential, signed by an issuer that the domain trusts, was verified: of grade 2 each.
  verified: Set<String>,
  // How well founded these facts are, 0..4.
  grade: Long,
  // Every country whose law reaches somebody else who holds its keys; empty where it holds them alone.
  key_reach: Set<Jurisdiction>,
  // Countries from which staff reaches what it runs, as far as it states any.
  support: Set<Jurisdiction>,
  // Rule sets about control that it passes: "secnumcloud-19.6" (capital and votes, vetoes, keys and support in the EU).
  passes: Set<String>,
  // Union assurance level of the CADA proposal, 0..4.
  cada: Long,
};

entity Site = { country: Jurisdiction };

// What a verifier of the domain found in the evidence of the node's platform; all of it is false, 0 or empty where
// nothing was found or it has ended. Facts of grade 4.
type Attested = {
  tpm: Bool, tdx: Bool, sgx: Bool, snp: Bool,
  // "hardware", "simulated" or "none".
  origin: String,
  // The worst tier of the AR4SI vector: "affirming", "warning", "contraindicated" or "none".
  status: String,
  // AR4SI claims, -128..127: 2..31 affirming, 32..95 warning, 96.. contraindicated, 0 nothing known.
  identity: Long, configuration: Long, executables: Long, hardware: Long,
  // Names of the domain's reference values that matched.
  references: Set<String>,
  advisories: Set<String>,
};

// What round trips to landmarks say about the place that the node claims: how many answered, within how many km of the
// claim it surely is (20015 where nobody measured), and whether physics contradicts the claim.
type Measured = { landmarks: Long, radius_km: Long, contradicted: Bool };

entity Node in [Site] = {
  location: Jurisdiction,
  operator: Operator,
  tier: String,
  grade: Long,
  attested: Attested,
  measured: Measured,
};

// Tags, one per regime and scope of adequacy (`gdpr:general`): the countries to which the data of all the
// workload's subjects under that regime may flow at the moment of asking.
entity Workload in [DataClass] = {
  namespace: String,
  regimes: Set<String>,
  subjects: Set<Jurisdiction>,
  seal: Seal,
  control_exclude: Set<Jurisdiction>,
  location_only: Set<Jurisdiction>,
  grade: Long,
  // Least CADA level demanded, 0..4.
  cada: Long,
  // Whether one instance serves several requests, so that memory carries over from one to the next.
  reuses_instances: Bool,
  // "shared", "process" or "process-seccomp": whether its tenant has worker processes of its own.
  isolation: String,
} tags Set<Jurisdiction>;

action place, move, replicate, deploy appliesTo { principal: [Workload], resource: [Node], context: {} };
// A value that work reads, and where it may be sent. `readers`: whom its owner names; empty means its namespace.
entity Secret in [DataClass] = { namespace: String, name: String, readers: Set<Workload> };
action read appliesTo { principal: [Workload], resource: [Secret], context: { node: Node } };
action egress appliesTo { principal: [Workload], resource: [Jurisdiction], context: {} };
action join appliesTo { principal: [Operator], resource: [Node], context: {} };
"""

SCHEMA: Final = cedarpy.Schema.from_str(SCHEMA_TEXT)
"""The parsed schema; immutable, parsed once per process."""

INVOKE_SCHEMA_TEXT: Final = """\
// Who may ask whom: what policies about the action `invoke` may speak of.
// `src/hanse/policy/schema.py` and the engine's `invoke.cedarschema` carry the same text.

// An issuer of tokens, by its claim `iss`.
entity Issuer;
// The holder of a verified token, `issuer#subject`. Tags are its claims, each a set of texts: one for a text, a number
// or a truth value, several for a list. The claims about the token itself (exp, iat, nbf, jti) are left out.
entity User in [Issuer] = { issuer: String, subject: String } tags Set<String>;
// The holder of a client certificate, by its SHA-256; names as `dns:…`, `email:…`, `uri:…`.
entity Certificate = { subject: String, issuer: String, names: Set<String> };
// Nobody has proven anything.
entity Anonymous;
// A node of the fabric, by its SPIFFE ID, that asks in its own name.
entity Node;
entity Namespace;
// A class of data; `health` is in `special` is in `personal`.
entity DataClass in [DataClass];
// `namespace.name`. `access`: `open` when its owner named nobody, `restricted` when its owner did.
entity Workload in [Namespace, DataClass] = { namespace: String, name: String, access: String };

action invoke appliesTo {
  principal: [Anonymous, User, Certificate, Workload, Node],
  resource: [Workload],
  context: { method: String, host: String, path: String, node: String },
};
"""
"""The engine has the same text (`crates/engine/src/invoke.cedarschema`), and makes the principals of requests by it."""

INVOKE_SCHEMA: Final = cedarpy.Schema.from_str(INVOKE_SCHEMA_TEXT)
"""The parsed schema of requests."""

ACCESS_SCHEMA_TEXT: Final = """\
// Who may do what with the API. Tags of a principal are its roles: each names the namespaces in which it is held, `*`
// for all of them and for what belongs to no namespace.
entity User = { issuer: String, subject: String } tags Set<String>;
entity Token = { subject: String } tags Set<String>;
// What is asked about; `namespace` is empty for what belongs to the domain: nodes, sites, the ledger.
entity Part = { kind: String, namespace: String, name: String };

action read, deploy, delete, "set-policy", operate, audit, trust, administer appliesTo {
  principal: [User, Token],
  resource: [Part],
  context: {},
};
"""
"""What rules of roles may speak of (`hanse.policy.access`)."""

ACCESS_SCHEMA: Final = cedarpy.Schema.from_str(ACCESS_SCHEMA_TEXT)
"""The parsed schema of the API's questions."""
