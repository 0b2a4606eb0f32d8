"""A saved model is whole, unaltered and the same; or it is refused, and nothing is lost."""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import safetensors.torch

import vicreg.persistence
from vicreg import VICReg, load
from vicreg.persistence import DOCUMENT, WEIGHTS, check_free
from vicreg.places import fresh_file

RANDOM = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "a": RANDOM.normal(size=60),
        "b": np.where(RANDOM.random(60) < 0.2, np.nan, RANDOM.normal(size=60)),
        "word": RANDOM.choice(["x", "y"], 60),
        "same": 1.0,
    }
)


def small(seed: int = 0) -> VICReg:
    return VICReg(
        n_components=np.int64(4),  # type: ignore[arg-type]
        hidden=[8],
        projector=(8,),
        steps=5,
        batch_size=30,
        random_state=seed,
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    small().fit(TABLE).save(tmp_path / "model")
    return tmp_path / "model"


def test_a_loaded_model_is_the_same(tmp_path: Path) -> None:
    model = small().fit(TABLE)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert np.array_equal(again.transform(TABLE), model.transform(TABLE))
    assert again.get_params() == {**model.get_params(), "n_components": 4, "hidden": (8,)}
    assert again.history_ == model.history_
    assert again.notes_ == model.notes_ == ["dropped 1 constant column: 'same'"]
    assert again.n_features_in_ == 4
    assert list(again.feature_names_in_) == list(TABLE.columns)
    assert list(again.get_feature_names_out()) == list(model.get_feature_names_out())


def test_a_loaded_model_can_be_fitted_and_saved_again(saved: Path, tmp_path: Path) -> None:
    again = load(saved)
    again.fit(TABLE)
    again.save(tmp_path / "second")
    assert np.array_equal(load(tmp_path / "second").transform(TABLE), load(saved).transform(TABLE))


def test_the_folder_holds_json_safetensors_and_a_card_and_nothing_else(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["README.md", DOCUMENT, WEIGHTS]
    assert json.loads((saved / DOCUMENT).read_text(encoding="utf-8"))["format"] == 1
    assert safetensors.torch.load_file(saved / WEIGHTS)
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("name", [DOCUMENT, WEIGHTS])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"not a whole model: {name} is missing"):
        load(saved)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no model folder at .*nowhere"):
        load(tmp_path / "nowhere")


def test_one_altered_bit_of_the_weights_is_noticed(saved: Path) -> None:
    content = bytearray((saved / WEIGHTS).read_bytes())
    content[-3] ^= 1
    (saved / WEIGHTS).write_bytes(content)
    with pytest.raises(ValueError, match=f"{WEIGHTS} was altered after it was saved"):
        load(saved)


def test_an_altered_document_is_noticed(saved: Path) -> None:
    document = json.loads((saved / DOCUMENT).read_text(encoding="utf-8"))
    document["table"]["columns"][0]["name"] = "z"
    (saved / DOCUMENT).write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ValueError, match=f"{DOCUMENT} was altered after it was saved"):
        load(saved)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"format": 1, "vicreg"', "model.json is not JSON"),
        ("[" * 200_000, "model.json is not JSON"),
        ("[1, 2]", "model.json is not a vicreg model"),
        ('{"a": 1}', "model.json is not a vicreg model"),
        ('{"format": 99, "sha256": ""}', "has format 99, this version reads format 1: install"),
    ],
)
def test_what_is_not_a_model_is_refused(saved: Path, content: str, message: str) -> None:
    (saved / DOCUMENT).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load(saved)


@pytest.mark.parametrize(
    ("part", "name", "message"),
    [
        ("params", "tempo", "settings that this one does not know: tempo; load it with that ver"),
        ("config", "tempo", r"written by vicreg 9\.9.* cannot read it .*tempo"),
        (None, "notes", r"written by vicreg 9\.9, and this version, .* cannot read it .*'notes'"),
    ],
)
def test_a_model_of_another_version_is_told_of(
    saved: Path, part: str | None, name: str, message: str
) -> None:
    document = json.loads((saved / DOCUMENT).read_text(encoding="utf-8"))
    del document["sha256"]
    document["vicreg"] = "9.9"
    if part is None:
        del document[name]
    else:
        document[part][name] = 1
    document["sha256"] = vicreg.persistence._digest(document)
    (saved / DOCUMENT).write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load(saved)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("weights_sha256",), None, "weights.safetensors was altered"),
        (("params",), None, "cannot read it .*TypeError"),
        (("n_threads",), -1, "cannot read it .*n_threads must be"),
        (("n_threads",), "a", "cannot read it .*n_threads must be"),
        (("table", "columns", 0, "kind"), "evil", "cannot read it .*'evil'"),
        (("table", "columns", 0, "position"), 99, "cannot read it .*no column of 4"),
        (("table", "columns"), None, "cannot read it .*TypeError"),
        (("history",), [], "cannot read it"),
        (("notes",), "one", "cannot read it .*notes must be a list of texts, however: 'one'"),
        (("aside",), [], "cannot read it .*aside must be names of columns"),
        (("aside", "label"), 7, "cannot read it .*aside must be names of columns"),
        (("feature_names",), ["a"], "cannot read it .*feature_names must be a text for each"),
        (("n_rows",), "many", "cannot read it .*n_rows must be an integer"),
        (("table", "columns", 0, "parts"), [], "cannot read it .*mean must hold"),
    ],
)
def test_a_document_that_was_made_up_is_refused(
    saved: Path, place: tuple[Any, ...], value: Any, message: str
) -> None:
    """With the right checksum: whoever writes one can work it out."""
    document = json.loads((saved / DOCUMENT).read_text(encoding="utf-8"))
    del document["sha256"]
    *above, last = place
    inner = document
    for step in above:
        inner = inner[step]
    if value is None and last == "weights_sha256":
        del inner[last]
    else:
        inner[last] = value
    document["sha256"] = vicreg.persistence._digest(document)
    (saved / DOCUMENT).write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load(saved)


def with_weights(saved: Path, weights: bytes) -> None:
    """Others in place of a model's own, and the checksums that are theirs."""
    (saved / WEIGHTS).write_bytes(weights)
    document = json.loads((saved / DOCUMENT).read_text(encoding="utf-8"))
    del document["sha256"]
    document["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    document["sha256"] = vicreg.persistence._digest(document)
    (saved / DOCUMENT).write_text(json.dumps(document), encoding="utf-8")


def test_weights_that_were_made_up_are_refused(saved: Path) -> None:
    weights = (saved / WEIGHTS).read_bytes()[:100]
    with_weights(saved, weights)
    with pytest.raises(ValueError, match="cannot read it .*SafetensorError"):
        load(saved)


@pytest.mark.parametrize(
    ("name", "made", "message"),
    [
        ("table.scale", lambda one: one[1:], "scale must hold"),
        ("table.scale", lambda one: -one, "scale must be above 0"),
        ("table.mean", lambda one: one * np.nan, "table.mean holds numbers that are not finite"),
        ("network", lambda one: one * np.inf, "network.* holds numbers that are not finite"),
    ],
)
def test_tensors_that_were_made_up_are_refused(
    saved: Path, name: str, made: Any, message: str
) -> None:
    tensors = safetensors.numpy.load_file(saved / WEIGHTS)
    place = next(one for one in sorted(tensors) if one.startswith(name))
    weights = safetensors.numpy.save({**tensors, place: np.ascontiguousarray(made(tensors[place]))})
    with_weights(saved, weights)
    with pytest.raises(ValueError, match=f"cannot read it .*{message}"):
        load(saved)


def test_a_name_that_is_no_text_of_utf_8_is_saved(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a\ud800": np.arange(60.0), "b": np.arange(60.0)[::-1] ** 2})
    small().fit(frame).save(tmp_path / "model")
    assert np.array_equal(
        load(tmp_path / "model").transform(frame), small().fit(frame).transform(frame)
    )


def test_binary_rubbish_is_refused(saved: Path) -> None:
    (saved / DOCUMENT).write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ValueError, match="model.json is not JSON"):
        load(saved)


def test_saving_replaces_an_earlier_model_whole(saved: Path) -> None:
    other = small(seed=1).fit(TABLE)
    other.save(saved)
    assert np.array_equal(load(saved).transform(TABLE), other.transform(TABLE))
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_saving_into_an_empty_folder_works(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    small().fit(TABLE).save(tmp_path / "empty")
    assert load(tmp_path / "empty").n_features_in_ == 4


@pytest.mark.parametrize(
    "content", ["{}", "[1]", "not JSON", '{"format": "keras", "weights": 3}', "\ud800"]
)
def test_a_folder_with_a_model_json_of_another_program_is_not_a_model_folder(
    tmp_path: Path, content: str
) -> None:
    place = tmp_path / "other"
    place.mkdir()
    (place / DOCUMENT).write_bytes(content.encode("utf-8", "surrogatepass"))
    (place / "precious.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="other exists and is not a model folder, one with"):
        small().fit(TABLE).save(place)
    assert (place / "precious.txt").read_text(encoding="utf-8") == "mine"
    assert sorted(path.name for path in place.iterdir()) == [DOCUMENT, "precious.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_an_altered_model_can_be_saved_again(saved: Path) -> None:
    document = json.loads((saved / DOCUMENT).read_text(encoding="utf-8"))
    (saved / DOCUMENT).write_text(json.dumps({**document, "n_rows": 7}), encoding="utf-8")
    small().fit(TABLE).save(saved)
    assert load(saved).n_rows_ == 60


def test_other_files_in_a_model_folder_stay_there(saved: Path) -> None:
    (saved / "notes.txt").write_text("mine", encoding="utf-8")
    (saved / "tuning").mkdir()
    (saved / "tuning" / "trials.csv").write_text("number\n0\n", encoding="utf-8")
    (saved / "last").symlink_to("tuning")
    other = small(seed=1).fit(TABLE)
    other.save(saved)
    assert np.array_equal(load(saved).transform(TABLE), other.transform(TABLE))
    assert (saved / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert (saved / "tuning" / "trials.csv").read_text(encoding="utf-8") == "number\n0\n"
    assert (saved / "last").is_symlink()
    own = ["README.md", DOCUMENT, WEIGHTS]
    assert sorted(path.name for path in saved.iterdir()) == sorted(
        [*own, "notes.txt", "tuning", "last"]
    )
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("there", ["model", "empty", "nothing", "nothing in no folder"])
def test_saving_to_a_link_writes_what_it_points_to(saved: Path, there: str) -> None:
    target = saved.parent / "models" / "target"
    if there != "nothing in no folder":
        target.parent.mkdir()
    if there == "model":
        saved.rename(target)
    elif there == "empty":
        target.mkdir()
    link = saved.parent / "current"
    link.symlink_to(target)
    other = small(seed=1).fit(TABLE)
    other.save(link)
    assert link.is_symlink()
    assert np.array_equal(load(target).transform(TABLE), other.transform(TABLE))
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="a must lead somewhere, however: its links go round"):
        small().fit(TABLE).save(tmp_path / "a")


def test_models_saved_to_one_folder_at_a_time_are_whole_and_readable(saved: Path) -> None:
    (saved / "notes.txt").write_text("mine", encoding="utf-8")
    models = [small(seed=seed).fit(TABLE) for seed in range(3)]
    embeddings = [model.transform(TABLE) for model in models]
    done = threading.Event()

    def save(model: VICReg) -> None:
        for _ in range(8):
            model.save(saved)

    def read() -> int:
        n_read = 0
        while not done.is_set():
            embedding = load(saved).transform(TABLE)
            assert any(np.array_equal(embedding, one) for one in embeddings)
            n_read += 1
        return n_read

    with ThreadPoolExecutor(4) as pool:
        reading = pool.submit(read)
        try:
            for saving in [pool.submit(save, model) for model in models]:
                saving.result()
        finally:
            done.set()
        assert reading.result()
    assert (saved / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_model_that_another_save_is_replacing_just_now_can_be_replaced(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be gone after any of the looks at what is there."""
    is_dir = Path.is_dir
    looks: list[bool] = []

    def gone_after_the_second(path: Path) -> bool:
        found = is_dir(path)
        if path == saved:
            looks.append(found)
            if len(looks) == 2:
                saved.rename(saved.with_name("aside"))
        return found

    monkeypatch.setattr(Path, "is_dir", gone_after_the_second)
    check_free(saved)
    assert looks[0]


def test_a_failure_while_moving_puts_the_old_model_back(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (saved / "notes.txt").write_text("mine", encoding="utf-8")
    wanted = load(saved).transform(TABLE)
    other = small(seed=1).fit(TABLE)
    rename = Path.rename
    calls: list[Path] = []

    def fail_at_third(path: Path, to: Path) -> Path:  # into the place that was just freed
        calls.append(path)
        if len(calls) == 3:
            raise OSError("input/output error")
        return rename(path, to)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", fail_at_third)
        with pytest.raises(OSError, match="input/output error"):
            other.save(saved)
    assert np.array_equal(load(saved).transform(TABLE), wanted)
    assert (saved / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_saving_never_overwrites_anything_else(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "precious"
    if kind == "file":
        place.write_text("mine", encoding="utf-8")
    else:
        place.mkdir()
        (place / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="precious exists and is not a model folder"):
        small().fit(TABLE).save(place)
    mine = place if kind == "file" else place / "thesis.txt"
    assert mine.read_text(encoding="utf-8") == "mine"


def test_a_failure_while_writing_keeps_the_old_model(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = load(saved).transform(TABLE)
    other = small(seed=1).fit(TABLE)

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="no space left"):
            other.save(saved)
    assert np.array_equal(load(saved).transform(TABLE), wanted)
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_fresh_file_takes_its_place_only_if_all_went_well(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with fresh_file(path) as fresh:
        fresh.write_text("first", encoding="utf-8")
        assert not path.exists()
        assert fresh.suffix == ".csv"
    assert path.read_text(encoding="utf-8") == "first"

    def fail() -> None:
        with fresh_file(path) as fresh:
            fresh.write_text("half", encoding="utf-8")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text(encoding="utf-8") == "first"
    assert [one.name for one in tmp_path.iterdir()] == ["out.csv"]
