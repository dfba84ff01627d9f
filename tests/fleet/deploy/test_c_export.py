"""What is exported for microcontrollers is what was matched."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from urllib.parse import quote

import pytest

from listen_embed import registry
from listen_embed.device.export import export_c
from listen_embed.errors import ListenEmbedError
from listen_embed.fleet.deploy import package
from listen_embed.fleet.deploy.c_export import check, export, options
from listen_embed.fleet.deploy.manifest import unseal
from listen_embed.fleet.deploy.rollout import Order
from listen_embed.fleet.deploy.targets import targets
from listen_embed.fleet.things.capabilities import C
from listen_embed.fleet.things.describe_model import model_of_spec

from ..things.world import NANO, board
from .world import KEY, NOW, TRUSTED


def test_each_device_gets_the_c_that_it_was_matched_with(tmp_path: Path) -> None:
    spec = registry.find(NANO)
    model = model_of_spec(spec)
    devices = [board("with"), board("../up", has_fpu=False), board("small", ram=9)]
    chosen = targets(model, devices, C)
    made = export(spec, model, chosen, tmp_path / "out", Order(KEY, 3600.0, NOW))
    assert set(made) == {"with", "../up"}
    for name, form in (("with", "c-float"), ("../up", "c-fixed")):
        sealed = (tmp_path / "out" / f"{quote(name, safe='')}.manifest.json").read_bytes()
        manifest = unseal(sealed, TRUSTED)
        assert manifest == made[name]
        assert manifest.needs is not None and manifest.needs.name == form
        folder = tmp_path / "out" / form
        header = (folder / "src" / "listen_model.h").read_text()
        assert f'LISTEN_DIGEST "{manifest.digest}"' in header
        assert f"LISTEN_FIXED_POINT {int(form == 'c-fixed')}" in header
        for place, promised in manifest.files.items():
            assert package.info((folder / place).read_bytes()) == promised
        assert set(manifest.files) == {
            f"src/{path.name}" for path in (folder / "src").iterdir() if path.suffix in (".c", ".h")
        }


def test_c_of_another_size_than_was_matched_is_an_error(tmp_path: Path) -> None:
    spec = registry.find(NANO)
    model = model_of_spec(spec)
    form = next(one for one in model.forms if one.name == "c-fixed")
    made = export_c(spec, tmp_path / "out", options(form))
    check(form, model, made)
    for wrong in (dataclasses.replace(form, ram=form.ram - 1), dataclasses.replace(form, flash=1)):
        with pytest.raises(ListenEmbedError, match=r"was matched as c-fixed with .* its C needs"):
            check(wrong, model, made)
