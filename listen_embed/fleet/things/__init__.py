"""Devices and models described in RDF, and which model runs on which device.

Purpose
    Say what a device has (a W3C Thing Description 1.1) and what a model needs (generated from its
    card and its .tflite), keep thousands of both, and match them.
In
    Parts and models that this package knows, and JSON-LD that others wrote.
Out
    JSON-LD, matches with the reason for every refusal, answers to SPARQL queries, a page.
Left to others
    What a model costs as C (`listen_embed.device`), what stands in a .tflite
    (`listen_embed.graph`).

Read in this order: terms, units, capabilities, describe_device, describe_model, triples,
read_device, read_model, match, registry, page, commands.

The scheme is SeLoC-ML's (Ren, Anicic, Li, Runkler; arXiv 2405.07601): a device's memory stands
under ``s3n:hasSystemCapability``, a model's needs under ``s3n:hasProcedureFeature``.
"""

from listen_embed.errors import require_extra

require_extra("fleet")
