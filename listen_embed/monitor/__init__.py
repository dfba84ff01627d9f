"""Listen to a machine: its states and anomalies, from any microphone to MQTT and a live page.

Purpose
    Turn sound into journalled, delivered events. ``listen-embed monitor collect`` records labelled
    clips, ``adapt`` learns a machine from them, ``tune`` hears a day again, ``run`` watches it.
In
    Blocks of samples from a source: file, folder, microphone, pipe, socket, MQTT sensor.
Out
    Events (state, anomaly, health, ...), each first in an SQLite journal, then by MQTT (JSON or
    Sparkplug B), JSON lines or webhook; a page in the browser; sound kept around alarms.
Left to others
    Embeddings (`listen_embed.embedder`), learning and scoring (`listen_embed.heads`).

Read in this order: block, sources, pipeline, debounce, machine, events, journal, sinks, page, run.
"""

from listen_embed.errors import require_extra

require_extra("monitor")
