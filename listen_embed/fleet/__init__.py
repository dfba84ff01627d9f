"""Many devices: they are found by what they can do, and get the models that they can run.

`things` describes devices and models and matches them; `deploy` brings models to devices.
"""
