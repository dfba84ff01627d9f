"""Every front end of the registry as a graph gives the pictures of the extractor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from listen_embed import registry
from listen_embed.framing import Frames
from listen_embed.frontend import FeatureExtractor
from listen_embed.onnx.front_end import add_front_end
from listen_embed.onnx.graph import Graph
from listen_embed.spec import FrontEnd

FRONT_ENDS = {spec.front_end: spec.name for spec in reversed(registry.models())}
WITH_WAVES = {
    replace(registry.find(name).front_end, features="log-mel+waveform"): f"{name} and a waveform"
    for name in ("sea/32/nano", "pruned/384/mn04")
}


@pytest.mark.parametrize("front_end", FRONT_ENDS | WITH_WAVES, ids=(FRONT_ENDS | WITH_WAVES).get)
def test_a_picture_is_the_extractors(front_end: FrontEnd, rng: np.random.Generator) -> None:
    graph = Graph()
    given = graph.input("samples", (1, front_end.frame_samples))
    value = add_front_end(graph, front_end, given)
    model = graph.finish(value, "features", (1, *front_end.input_shape), {})
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for level in (0.5, 1e-3):
        frame = (level * rng.standard_normal(front_end.frame_samples)).astype(np.float32)
        (theirs,) = session.run(None, {"samples": frame[None]})
        ours = FeatureExtractor(front_end)(Frames(frame, 0, [0], len(frame)))
        span = float(np.abs(ours).max())
        np.testing.assert_allclose(theirs, ours, atol=1e-4 * span)
