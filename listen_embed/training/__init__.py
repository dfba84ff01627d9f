"""The training room: any folder of recordings and any teacher -> a small specialised model.

`specialize.specialize` runs the stages in order; each stage is a module that can be used alone:
`corpus` (decode once) -> `sampling` (choose crops) -> `shards` (augmented crops with teacher
embeddings) -> `reduction` (fewer dimensions) -> `network`, `pruning` (what learns) -> `distill` ->
`quantize`, `convert` (int8 .tflite) -> `export` (a model folder) -> `report`, `verdict` (pictures,
and whether it paid). `train` tells that story for a plan and its material; the plans of the shipped
models stand in the checkout's ``recipes/``.
"""

from listen_embed.errors import require_extra

require_extra("training")
