"""Published weights in, .tflite bytes out, without TensorFlow or torch.

One converter per family of published models; what each file looks like is told in its module.
The heavy imports (h5py, the flatbuffer schema) happen when a conversion runs, not before.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from listen_embed.errors import ConversionError

__all__ = ["VERSION", "convert", "converters"]

# Part of a converted file's name in the cache: raise it when a converter writes other bytes.
VERSION = 1

# name -> (module, function): the modules are imported only when asked for
_CONVERTERS = {
    "keras_l3": ("l3", "convert"),
    "efficientat": ("efficientat", "convert"),
    "listen": ("listen", "convert"),
    "yamnet": ("yamnet", "convert"),
}


def converters() -> tuple[str, ...]:
    """Names that :func:`convert` accepts, sorted."""
    return tuple(sorted(_CONVERTERS))


def convert(
    path: Path,
    converter: str,
    *,
    input_shape: tuple[int, ...],
    emb_dim: int,
) -> bytes:
    """Return the .tflite bytes of a published weights file.

    The file's digest is the caller's business; its layout is checked here, and nothing in it is
    ever executed.

    Parameters
    ----------
    path : Path
        The published file, as downloaded.
    converter : str
        One of :func:`converters`.
    input_shape : tuple of int
        The network's input without batch and channel: ``(n_mels, n_steps)`` for networks on
        log-mels, ``(15600,)`` samples for yamnet.
    emb_dim : int
        Length of the embedding that the graph must give.

    Returns
    -------
    bytes
        A TFLite file: float32 ``[1, n_mels, n_steps, 1]`` in (yamnet: ``[15600]``), float32
        ``[1, emb_dim]`` out. Equal files give equal bytes.

    Raises
    ------
    ConversionError
        Unknown converter, or a file without the layout that its network needs.
    RuntimeUnavailableError
        No installed runtime brings the TFLite schema.
    """
    if converter not in _CONVERTERS:
        known = ", ".join(converters())
        raise ConversionError(f"No converter is called {converter!r}. Choose one of: {known}.")
    if not input_shape or min(*input_shape, emb_dim) < 1:
        raise ConversionError(
            f"input_shape {input_shape} and emb_dim {emb_dim} must hold positive sizes."
        )
    module, function = _CONVERTERS[converter]
    run = getattr(importlib.import_module(f"{__name__}.{module}"), function)
    graph: bytes = run(Path(path), input_shape=tuple(input_shape), emb_dim=emb_dim)
    return graph
