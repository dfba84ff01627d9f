"""Models as plain C for microcontrollers, and as WebAssembly: samples in, embedding out.

What is written has no interpreter, no heap and no dependency but libc and libm. Needs numpy and the
TFLite schema of ai-edge-litert, nothing else.
"""

from listen_embed.device.export import export_c
from listen_embed.device.model_source import Options
from listen_embed.device.web_export import export_wasm

__all__ = ["Options", "export_c", "export_wasm"]
