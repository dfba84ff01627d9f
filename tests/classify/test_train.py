"""The methods from clips to a folder: head, lean, finetune; and nothing half written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from listen_embed import Embedder, SoundClassifier
from listen_embed.classify.labelled import LabelledClip, read_labelled
from listen_embed.classify.options import Options
from listen_embed.classify.testing import measure
from listen_embed.classify.train import train
from listen_embed.errors import AudioFileError, InputError, ListenEmbedWarning

from .conftest import BASE
from .sounds import KINDS, SR, folder_of, sound, write


def test_a_folder_holds_what_its_card_says(classifier_folder: Path) -> None:
    names = {path.name for path in classifier_folder.iterdir()}
    assert names == {
        "README.md", "c", "classes.npz", "classifier.json", "golden.npz", "model.tflite",
        "model.toml", "report.json", "report.png",
    }  # fmt: skip
    report = json.loads((classifier_folder / "report.json").read_text())
    assert report["accuracy"] > 0.9 and report["clips"] == 18
    assert report["log_mel"]["accuracy"] > 0.5
    assert set(report["average_precision"]) == {"beeps", "hiss", "hum"}
    assert np.sum(report["confusion"]) == 18
    card = (classifier_folder / "README.md").read_text()
    assert "(log-mel statistics: " in card and "SoundClassifier" in card
    assert (classifier_folder / "report.png").read_bytes()[:4] == b"\x89PNG"
    assert not classifier_folder.with_name("kinds.work").exists()


def test_several_labels_at_a_time(labelled_table: Path, tmp_path: Path) -> None:
    folder = train(labelled_table, tmp_path / "several", Options(base=BASE), progress=False)
    classifier = SoundClassifier(folder)
    assert classifier.is_multi and (classifier.thresholds > 0).all()
    both = (sound("hum", 91) + sound("hiss", 92)).astype(np.float32)
    found = dict(zip(classifier.labels, classifier.predict_clip(both, SR), strict=True))
    assert found["hum"] > found["beeps"] and found["hiss"] > found["beeps"]


@pytest.mark.parametrize("method", ["lean", "finetune"])
def test_trained_networks_become_int8_models(request: pytest.FixtureRequest, method: str) -> None:
    folder: Path = request.getfixturevalue(f"{method}_folder")
    classifier = SoundClassifier(folder)
    assert classifier.embedder.spec.front_end.frame_seconds == pytest.approx(1.2)
    samples = np.concatenate([sound("hum", 55, 1.2), sound("hiss", 56, 1.2)])
    _, found, _ = classifier.predict(samples, SR)
    stream = classifier.stream(SR)
    pieces = [stream.push(samples[:7000])[0], stream.push(samples[7000:], last=True)[0]]
    np.testing.assert_allclose(np.concatenate(pieces), found, atol=1e-5)
    models = (Embedder(place, hop_size=0.4, center=False) for place in (folder, folder / "float"))
    in_int8, in_float = (model.embed(samples, SR)[0][:4] for model in models)  # no zeros after them
    lengths = np.linalg.norm(in_int8, axis=1) * np.linalg.norm(in_float, axis=1)
    assert ((in_int8 * in_float).sum(1) / lengths).min() > 0.95
    assert (folder / "c" / "src" / "listen_classes.h").exists()
    assert "C for microcontrollers stands in `c/`" in (folder / "README.md").read_text()
    report = json.loads((folder / "report.json").read_text())
    assert len(report["history"]) == 6
    assert 0 < report["log_mel"]["mean_average_precision"] <= 1


def test_a_cut_off_training_goes_on(
    labelled_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from listen_embed.classify import fit

    learn, passes = fit._Run.learn, []

    def interrupted(run: fit._Run, *rest: object) -> float:
        if len(passes) == 2:
            passes.append(0)
            raise KeyboardInterrupt
        passes.append(run.epoch)
        return learn(run, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(fit._Run, "learn", interrupted)
    options = Options(method="finetune", base=BASE, epochs=4, window=1.2)
    with pytest.raises(KeyboardInterrupt):
        train(labelled_folder, tmp_path / "own", options, progress=False)
    assert not (tmp_path / "own").exists() and (tmp_path / "own.work").exists()
    train(labelled_folder, tmp_path / "own", options, progress=False)
    assert passes == [0, 1, 0, 2, 3]
    assert not (tmp_path / "own.work").exists()


def test_a_base_that_cannot_be_trained_is_named(labelled_folder: Path, tmp_path: Path) -> None:
    for base in ("listen/64/workshop", "logmel/128"):
        options = Options(method="finetune", base=base)
        with pytest.raises(InputError, match="cannot be trained"):
            train(labelled_folder, tmp_path / "own", options, progress=False)
    with pytest.raises(InputError, match="no network"):
        train(labelled_folder, tmp_path / "own", Options(base="logmel/128"), progress=False)
    with pytest.raises(InputError, match="carries a state from step to step"):
        train(labelled_folder, tmp_path / "own", Options(base="sea/64/stream"), progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["head", "lean", "finetune"])
def test_a_file_that_breaks_off_is_named_and_nothing_is_left(tmp_path: Path, method: str) -> None:
    place = folder_of(tmp_path / "set", n=3)
    broken = place / "hum" / "broken.flac"
    soundfile.write(broken, sound("hum", 40, 4.0), SR)
    broken.write_bytes(broken.read_bytes()[:20_000])
    options = Options(method=method, base=BASE, wave="trained")  # type: ignore[arg-type]
    with pytest.raises(AudioFileError, match=r"broken\.flac"):
        train(place, tmp_path / "own", options, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_place_that_is_taken_is_left_alone(labelled_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="no model folder"):
        train(labelled_folder, tmp_path, Options(base=BASE), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_options_out_of_range_are_refused() -> None:
    for wrong in ({"method": "magic"}, {"window": 0.1}, {"epochs": -1}, {"join": "glue"}):
        with pytest.raises(InputError):
            Options(**wrong)  # type: ignore[arg-type]


def test_a_saved_classifier_is_measured_on_the_labels_both_know(
    classifier_folder: Path, tmp_path: Path
) -> None:
    classifier = SoundClassifier(classifier_folder)
    other = folder_of(tmp_path / "other", n=2)
    (other / "hum").rename(other / "drone")
    with pytest.warns(ListenEmbedWarning, match="does not know them: drone"):
        found = measure(classifier, read_labelled(other), progress=False)
    assert len(found.clips) == 4 and found.figures()["accuracy"] > 0.7
    for kind in ("hiss", "beeps"):
        (other / kind).rename(other / f"no {kind}")
    with pytest.raises(InputError, match="no labels in common"):
        measure(classifier, read_labelled(other), progress=False)


def test_clips_that_all_have_a_foreign_label_are_refused(
    classifier_folder: Path, tmp_path: Path
) -> None:
    place = folder_of(tmp_path / "other", n=2)
    clips = [LabelledClip(place / kind / f"{i}.wav", (kind, "bird")) for kind in KINDS
             for i in range(2)]  # fmt: skip
    with (
        pytest.warns(ListenEmbedWarning, match="does not know them: bird"),
        pytest.raises(InputError, match=r"every clip has a label .* \(bird\)"),
    ):
        measure(SoundClassifier(classifier_folder), read_labelled(clips), progress=False)


def test_silence_among_the_clips_is_no_obstacle(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "set", n=3)
    for i in range(3):
        write(place / "nothing" / f"{i}.wav", np.full(SR, i * 1e-6, np.float32))
    with pytest.warns(ListenEmbedWarning):
        folder = train(place, tmp_path / "own", Options(base=BASE), progress=False)
    assert "nothing" in SoundClassifier(folder).labels
