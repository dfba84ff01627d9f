"""Models as ONNX, for people whose runtime that is.

`listen_embed.onnx.export.to_onnx` turns a model's .tflite, operator by operator, into an ONNX
graph; the front end goes before it, so that the graph takes samples.
"""
