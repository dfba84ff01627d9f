"""What a device is learning, from the file where it is kept."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from listen_embed.fleet.deploy.learning import learning_in
from listen_embed.heads import OnlineClassifier


def test_what_is_learnt_is_told_as_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "machine.learnt.npz"
    say = learning_in(path)
    assert say() == ""
    head = OnlineClassifier().learn(np.eye(3), ["off", "saw", "off"])
    head.save(path)
    assert say() == "off, saw: 3 samples" == say()
    head.learn_one(np.ones(3), "drill").save(path)
    os.utime(path, ns=(1, 1))
    assert say() == "off, saw, drill: 4 samples"
    path.write_bytes(b"no head")
    assert say().startswith("cannot be read: ")
    path.unlink()
    assert say() == ""
