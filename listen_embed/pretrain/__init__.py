"""The self-supervised room: unlabelled recordings -> an encoder that embeds, teaches and is taught.

`pretrain.pretrain` runs the stages: `material` (recordings -> crops) -> a method, `ssast` or
`asit`, around an `encoder` (`transformer`, or `state_space` on `scan`) -> `export` (a model folder)
-> `report` (pictures, and a probe over training). `published` reads the weights that the authors of
SSAST and SSAMBA gave out.
"""

from listen_embed.errors import require_extra

require_extra("training")
