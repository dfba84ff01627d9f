"""The layer of classes as C, for beside the exported network."""

from __future__ import annotations

import numpy as np

from listen_embed.classify.layer import Layer
from listen_embed.device.steps import Array
from listen_embed.device.text import array, define

NAME = "listen_classes.h"
_TEMPLATE = """\
/* The layer of classes. Written by listen-embed.
   Include it in one source file, give listen_classes() an embedding, and compare: of a
   {kind} layer {rule}. */
#ifndef LISTEN_CLASSES_H
#define LISTEN_CLASSES_H

#include <math.h>

{defines}

{arrays}
static const char *const listen_class_labels[LISTEN_N_CLASSES] = {{
{labels}
}};

/* Write the probability of each label, of an embedding of LISTEN_CLASSES_DIM values. */
static void listen_classes(const float *embedding, float *probabilities)
{{
    float highest = -INFINITY, sum = 0.0f;
    for (int c = 0; c < LISTEN_N_CLASSES; c++) {{
        float logit = listen_class_bias[c];
        for (int d = 0; d < LISTEN_CLASSES_DIM; d++)
            logit += listen_class_weight[c * LISTEN_CLASSES_DIM + d] * embedding[d];
        probabilities[c] = logit;
        if (logit > highest)
            highest = logit;
    }}
    for (int c = 0; c < LISTEN_N_CLASSES; c++) {{
        if (LISTEN_CLASSES_SOFTMAX)
            sum += probabilities[c] = expf(probabilities[c] - highest);
        else
            probabilities[c] = 1.0f / (1.0f + expf(-probabilities[c]));
    }}
    if (LISTEN_CLASSES_SOFTMAX)
        for (int c = 0; c < LISTEN_N_CLASSES; c++)
            probabilities[c] /= sum;
}}

#endif
"""


def classes_header(layer: Layer, labels: tuple[str, ...]) -> str:
    """Return a header with a layer's numbers, its labels in UTF-8, and what computes it."""
    is_softmax = layer.kind == "softmax"
    constants = {
        "LISTEN_N_CLASSES": len(labels),
        "LISTEN_CLASSES_DIM": layer.weight.shape[1],
        "LISTEN_CLASSES_SOFTMAX": int(is_softmax),
    }
    parts = {
        "weight": layer.weight.ravel(),
        "bias": layer.bias,
        "threshold": layer.thresholds,
    }
    return _TEMPLATE.format(
        kind=layer.kind,
        rule="the likeliest label holds" if is_softmax else "each from its threshold on",
        defines="\n".join(define(name, value) for name, value in constants.items()),
        arrays="\n".join(
            array(f"listen_class_{name}", Array("float", np.asarray(values, np.float64)))
            for name, values in parts.items()
        ),
        labels="\n".join(f"    {_string(label)}," for label in labels),
    )


def _string(text: str) -> str:
    """Return a C string of the text's bytes; octal escapes end after three digits."""
    harmless = [
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}"
        for byte in text.encode()
    ]
    return '"' + "".join(harmless) + '"'
