"""Where events go: JSON lines, a webhook, MQTT, Sparkplug. And the threads that send.

In: entries of the journal. Out: the same, at least once and in order, at every sink.

A sink's cursor lives in the journal and moves only when the sink has the events for good, so a
restart of the monitor, the sink or the network loses nothing; it may repeat. ``run`` and ``number``
of an event tell a repetition.
"""
