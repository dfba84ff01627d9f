"""The vocabularies, and a context of our own for the terms that are used here.

Nothing is fetched: where a document names a published Thing Description context, `THING_CONTEXT`
stands in for it; it has the terms that a Thing Description of ours can hold.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

PREFIXES = {
    "td": "https://www.w3.org/2019/wot/td#",
    "hctl": "https://www.w3.org/2019/wot/hypermedia#",
    "wotsec": "https://www.w3.org/2019/wot/security#",
    "jsonschema": "https://www.w3.org/2019/wot/json-schema#",
    "nnet": "https://w3id.org/tinyml-schema/neural-network-schema#",
    "s3n": "http://w3id.org/s3n/",
    "s3n_extend": "http://tinyml-schema.org/s3n_extend/",
    "sosa": "http://www.w3.org/ns/sosa/",
    "ssn": "http://www.w3.org/ns/ssn/",
    "ssn-system": "http://www.w3.org/ns/ssn/systems/",
    "qudt": "http://qudt.org/schema/qudt/",
    "unit": "http://qudt.org/vocab/unit/",
    "om": "http://www.ontology-of-units-of-measure.org/resource/om-2/",
    "schema": "https://schema.org/",
    "dct": "http://purl.org/dc/terms/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "le": "urn:listen-embed:terms:",
}
# What descriptions of ours write; the others are read.
_WRITTEN = ("nnet", "s3n", "sosa", "ssn", "ssn-system", "qudt", "unit", "schema", "rdfs", "le")
OWN_CONTEXT: dict[str, Any] = {prefix: PREFIXES[prefix] for prefix in _WRITTEN}

TD_CONTEXT = "https://www.w3.org/2022/wot/td/v1.1"
KNOWN_CONTEXTS = (TD_CONTEXT, "https://www.w3.org/2019/wot/td/v1")
THING_CONTEXT: dict[str, Any] = {
    "@version": 1.1,
    "td": PREFIXES["td"],
    "id": "@id",
    "title": "td:title",
    "description": "td:description",
    "support": {"@id": "td:supportContact", "@type": "@id"},
    "base": {"@id": "td:baseURI", "@type": "@id"},
    "properties": {
        "@id": "td:hasPropertyAffordance",
        "@container": "@index",
        "@index": "name",
    },
    "name": "td:name",
    "observable": "td:isObservable",
    "readOnly": PREFIXES["jsonschema"] + "readOnly",
    "type": {"@id": PREFIXES["rdf"] + "type", "@type": "@vocab"},
    "object": PREFIXES["jsonschema"] + "ObjectSchema",
    "number": PREFIXES["jsonschema"] + "NumberSchema",
    "string": PREFIXES["jsonschema"] + "StringSchema",
    "boolean": PREFIXES["jsonschema"] + "BooleanSchema",
    "forms": "td:hasForm",
    "href": {"@id": PREFIXES["hctl"] + "hasTarget", "@type": "@id"},
    "contentType": PREFIXES["hctl"] + "forContentType",
    "op": {"@id": PREFIXES["hctl"] + "hasOperationType", "@type": "@vocab"},
    "readproperty": "td:readProperty",
    "observeproperty": "td:observeProperty",
    "security": {"@id": "td:hasSecurityConfiguration", "@type": "@vocab"},
    "securityDefinitions": {"@id": "td:definesSecurityScheme", "@container": "@index"},
    "scheme": {"@id": PREFIXES["rdf"] + "type", "@type": "@vocab"},
    "nosec": PREFIXES["wotsec"] + "NoSecurityScheme",
}

_THING, _MODEL, _RUNTIME = (f"urn:listen-embed:{kind}:" for kind in ("thing", "model", "runtime"))


def iri(short: str) -> str:
    """Return the whole of ``prefix:name``."""
    prefix, _, name = short.partition(":")
    return PREFIXES[prefix] + name


def thing_iri(name: str) -> str:
    """Return how a device of this name is identified."""
    return _THING + quote(name, safe="")


def model_iri(name: str, digest: str) -> str:
    """Return how a model is identified: by its name and its embeddings' digest."""
    return f"{_MODEL}{quote(name)}@{digest[:16]}"


def runtime_iri(name: str) -> str:
    """Return how something that runs models is identified."""
    return _RUNTIME + name


def short_name(identifier: str) -> str:
    """Return a device's or runtime's name from its identifier, or all of a foreign one."""
    for start in (_THING, _RUNTIME, _MODEL):
        if identifier.startswith(start):
            return unquote(identifier[len(start) :])
    return identifier
