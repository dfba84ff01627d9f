"""Models brought to devices: signed, checked, switched at once, and taken back.

Purpose
    An operator signs which model a device shall run; the device believes nothing but the signature,
    tries the model on its golden vectors, and switches so that a power cut at any instant leaves
    a working one.
In
    A model folder and a private key; on the device the public one.
Out
    Over MQTT: files by their digests, a signed manifest for each device, its status back. For
    microcontrollers: the exported C, and the manifest beside it.
Left to others
    Which devices can run it (`listen_embed.fleet.things`), the C (`listen_embed.device`).

Read in this order: refusal, keys, manifest, package, slots, obey, node, watch, targets, rollout,
c_export, commands.
"""

from listen_embed.errors import require_extra

require_extra("fleet")
