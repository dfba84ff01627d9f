"""The fleet's page: devices, models, who runs what, and a SPARQL endpoint.

In: a registry of descriptions, and what devices say over MQTT. Out: a page in the monitor's style,
its data, and answers to queries that change nothing. Who may ask is the monitor's guard's matter.
"""
