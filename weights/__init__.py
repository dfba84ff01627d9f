"""The models that travel in the wheel: one folder each, with a model.toml and the .tflite it names.

Trained by ``make students``; each folder's README.md is its model card.
"""
