"""The classes as C: compiled, and held against the layer in Python."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from listen_embed.classify.classes_c import NAME, classes_header
from listen_embed.classify.layer import Layer

LABELS = ('a "quoted" \\ label', "Größe?", "犬 %d")
PROGRAM = f"""\
#include <stdio.h>
#include "{NAME}"
int main(void)
{{
    float embedding[LISTEN_CLASSES_DIM], found[LISTEN_N_CLASSES];
    while (fread(embedding, sizeof embedding, 1, stdin)) {{
        listen_classes(embedding, found);
        fwrite(found, sizeof found, 1, stdout);
    }}
    for (int c = 0; c < LISTEN_N_CLASSES; c++)
        fprintf(stderr, "%s\\n", listen_class_labels[c]);
    return listen_class_threshold[0] > 1.0f;
}}
"""


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_c_gives_the_layers_probabilities(
    kind: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    weight, bias = rng.normal(size=(3, 5)).astype(np.float32), rng.normal(size=3).astype(np.float32)
    layer = Layer(weight, bias, np.full(3, 0.5, np.float32), kind)  # type: ignore[arg-type]
    (tmp_path / NAME).write_text(classes_header(layer, LABELS), encoding="ascii")
    (tmp_path / "main.c").write_text(PROGRAM)
    command = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "main.c", "-lm", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    rows = (5 * rng.normal(size=(20, 5))).astype(np.float32)
    ran = subprocess.run([tmp_path / "main"], input=rows.tobytes(), capture_output=True, check=True)
    found = np.frombuffer(ran.stdout, np.float32).reshape(20, 3)
    np.testing.assert_allclose(found, layer.probabilities(rows), atol=1e-5)
    assert ran.stderr.decode().splitlines() == list(LABELS)
