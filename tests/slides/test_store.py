"""A feature folder is read as its tool left it, and whatever cannot be used is named."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from slidesurv.errors import ConfigError, DataError
from slidesurv.slides.store import FeatureStore, write_features

DATA = Path(os.environ.get("SLIDESURV_DATA") or Path(__file__).parents[2].parent / "shared/data")
FEATURES = np.arange(12, dtype=np.float32).reshape(4, 3)
COORDS = np.array([[0, 0], [0, 512], [512, 0], [512, 512]])


def write_h5(path: Path, attributes: dict[str, object] | None = None, **datasets: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file.create_dataset(name, data=values)
        file.attrs.update(attributes or {})
    return path


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile-marker",)


def test_trident_files_with_and_without_a_leading_axis_read_the_same(tmp_path):
    write_h5(tmp_path / "new.h5", features=FEATURES, coords=COORDS)
    write_h5(tmp_path / "old.h5", features=FEATURES[None], coords=COORDS)
    store = FeatureStore(tmp_path)
    for slide in ("new", "old"):
        features, coords = store.read(slide)
        assert features.dtype == torch.float32 and features.tolist() == FEATURES.tolist()
        assert coords.dtype == torch.int64 and coords.tolist() == COORDS.tolist()


def test_stamp_files_are_widened_and_their_micrometres_rounded(tmp_path):
    coords = np.array([[0.4, 255.6], [256.0, 0.0]])
    write_h5(tmp_path / "s.h5", {"unit": "um"}, feats=FEATURES[:2].astype(np.float16), coords=coords)
    features, corners = FeatureStore(tmp_path).read("s")
    assert features.dtype == torch.float32 and features.tolist() == FEATURES[:2].tolist()
    assert corners.tolist() == [[0, 256], [256, 0]]


def test_clam_folders_are_found_and_the_file_with_coordinates_wins(tmp_path):
    write_h5(tmp_path / "h5_files/a.h5", features=FEATURES, coords=COORDS.astype(np.int32))
    (tmp_path / "pt_files").mkdir()
    for slide in ("a", "b"):
        torch.save(torch.from_numpy(FEATURES), tmp_path / f"pt_files/{slide}.pt")
    store = FeatureStore(tmp_path)
    assert store.slides == ("a", "b")
    assert store.read("a")[1].tolist() == COORDS.tolist()
    assert store.read("b")[1].tolist() == [[0, 0]] * 4
    assert [store.header(slide).tiles for slide in ("a", "b")] == [4, 4]


def test_hidden_and_half_written_files_are_no_slides(tmp_path):
    write_h5(tmp_path / "a.h5", features=FEATURES)
    for name in ("._a.h5", ".a.h5.0123.part", "b.h5.tmp"):
        (tmp_path / name).write_bytes(b"")
    assert FeatureStore(tmp_path).slides == ("a",)


@settings(max_examples=25, deadline=None)
@given(
    values=arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(1, 4)), elements=st.floats(-1e4, 1e4, width=16))
)
@pytest.mark.parametrize("half", [False, True])
def test_what_is_written_is_read_again(tmp_path_factory, half, values):
    path = tmp_path_factory.mktemp("store") / "s.h5"
    coords = np.arange(2 * len(values)).reshape(-1, 2)
    write_features(path, values, coords, encoder="uni", half=half, attributes={"mpp_target": 0.5})
    features, corners = FeatureStore(path.parent).read("s")
    assert features.shape == values.shape and features.tolist() == values.tolist()  # float16 values: exact in both
    assert corners.tolist() == coords.tolist()
    assert FeatureStore(path.parent).header("s").origin == "encoder=uni, mpp_target=0.5"


def test_writing_twice_gives_the_same_bytes_and_no_chunks(tmp_path):
    for name in ("a", "b"):
        write_features(tmp_path / name / "s.h5", FEATURES, COORDS, encoder="uni")
    assert (tmp_path / "a/s.h5").read_bytes() == (tmp_path / "b/s.h5").read_bytes()
    with h5py.File(tmp_path / "a/s.h5") as file:
        assert file["features"].chunks is None and file["features"].attrs["name"] == "s"


def test_writing_refuses_what_reading_would_refuse(tmp_path):
    path = tmp_path / "s.h5"
    with pytest.raises(DataError, match="not all finite"):
        write_features(path, np.full((1, 2), np.nan), COORDS[:1], encoder="uni")
    with pytest.raises(ConfigError, match=r"70000 does not fit into float16\. Set half = false"):
        write_features(path, np.full((1, 2), 70000.0), COORDS[:1], encoder="uni", half=True)
    with pytest.raises(DataError, match=r"\(N, D\) and \(N, 2\)"):
        write_features(path, FEATURES, COORDS[:1], encoder="uni")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"coords": COORDS}, "no dataset 'features' or 'feats'; it holds 'coords'. Give the folder"),
        (
            {"features": FEATURES, "coords": COORDS[:1]},
            r"coords has shape \(1, 2\), but the file has 4 tiles. Expected \(4, 2\): make",
        ),
        ({"features": FEATURES, "coords": FEATURES}, r"coords has shape \(4, 3\)"),
        ({"features": FEATURES[0]}, r"features has shape \(3,\)"),
        ({"features": np.zeros((2, 4, 3))}, r"features has shape \(2, 4, 3\)"),
        ({"features": np.zeros((4, 0))}, r"features has shape \(4, 0\)"),
        ({"features": np.zeros((4, 3), np.int64)}, "features are int64"),
        ({"features": np.where(FEATURES == 7, np.nan, FEATURES)}, r"features\[2, 1\] is nan"),
        ({"features": np.where(FEATURES == 5, np.inf, FEATURES)}, r"features\[1, 2\] is inf"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_field(tmp_path, datasets, message):
    write_h5(tmp_path / "bad.h5", **datasets)
    with pytest.raises(DataError, match=rf"bad\.h5'.*{message}"):
        FeatureStore(tmp_path).read("bad")


def test_large_finite_features_are_not_called_infinite(tmp_path):
    write_h5(tmp_path / "s.h5", features=np.full((4, 3), 3e38, np.float32))
    assert torch.isfinite(FeatureStore(tmp_path).read("s")[0]).all()


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path, keep):
    path = write_h5(tmp_path / "cut.h5", features=np.zeros((100, 30)), coords=np.zeros((100, 2)))
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(DataError, match=r"cut\.h5.*cut short"):
        FeatureStore(tmp_path).check(["cut"])


def test_a_tensor_file_with_code_in_it_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(Hostile(), tmp_path / "bad.pt")
    with pytest.raises(DataError, match=r"bad\.pt' asks for '\w+\.system'; nothing was run"):
        FeatureStore(tmp_path).read("bad")
    assert not (tmp_path / "hostile-marker").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [({"x": torch.zeros(2, 2)}, "holds dict"), (torch.zeros(2, 2, dtype=torch.int64), "holds Tensor"),
     (torch.zeros(3), r"tensor has shape \(3,\)"), (torch.full((1, 2), torch.inf), r"features\[0, 0\] is inf")],
)  # fmt: skip
def test_a_tensor_file_of_another_kind_is_named(tmp_path, value, message):
    torch.save(value, tmp_path / "bad.pt")
    with pytest.raises(DataError, match=rf"bad\.pt'.*{message}"):
        FeatureStore(tmp_path).read("bad")


def test_a_cut_tensor_file_is_named(tmp_path):
    torch.save(torch.zeros(50, 50), tmp_path / "cut.pt")
    content = (tmp_path / "cut.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"cut\.pt' is cut short"):
        FeatureStore(tmp_path).header("cut")


def test_a_bag_joins_the_slides_in_order_and_remembers_them(tmp_path):
    for slide, tiles in (("a", 2), ("empty", 0), ("b", 1)):
        write_h5(tmp_path / f"{slide}.h5", features=FEATURES[:tiles] + (slide == "b"), coords=COORDS[:tiles])
    bag = FeatureStore(tmp_path).bag("P", ["b", "empty", "a"])
    assert bag.patient == "P" and bag.slide.tolist() == [0, 2, 2]
    assert bag.features.tolist() == [(FEATURES[0] + 1).tolist(), *FEATURES[:2].tolist()]
    assert len(FeatureStore(tmp_path).bag("P", ["empty"])) == 0
    assert FeatureStore(tmp_path).bag("P", []).features.shape == (0, 0)


def test_slides_of_two_widths_do_not_make_a_bag(tmp_path):
    write_h5(tmp_path / "a.h5", features=FEATURES)
    write_h5(tmp_path / "b.h5", features=FEATURES[:, :2])
    with pytest.raises(
        DataError, match=r"patient 'P' have features of widths \[2, 3\]; .* Encode all with one encoder"
    ):
        FeatureStore(tmp_path).bag("P", ["a", "b"])
    with pytest.raises(DataError, match="differ in width: 1 slides with D=3; 1 slides with D=2"):
        FeatureStore(tmp_path).check(["a", "b"])


def test_the_width_is_that_of_the_slides_asked_for(tmp_path):
    write_h5(tmp_path / "a-stranger.h5", features=FEATURES[:, :2])
    write_h5(tmp_path / "b.h5", features=FEATURES)
    store = FeatureStore(tmp_path)
    assert store.width_of(["b"]) == 3 and store.width_of(["a-stranger"]) == 2
    assert store.width_of([]) == 0


def test_missing_slides_are_listed_with_what_makes_them(tmp_path):
    write_h5(tmp_path / "a.h5", features=FEATURES)
    with pytest.raises(
        DataError,
        match=r"8 of 9 slides of cohort 'c' have no features in .*'S0', .* and 4 more\. Run 'slidesurv encode'",
    ):
        FeatureStore(tmp_path).check(["a", *(f"S{n}" for n in range(8))], cohort="c")
    with pytest.raises(DataError, match=r"Slide 'S0' has no features in .*\. Run 'slidesurv encode', or name"):
        FeatureStore(tmp_path).read("S0")


def test_an_empty_folder_is_no_store(tmp_path):
    with pytest.raises(DataError, match=r"holds no feature files.*Run 'slidesurv encode'.*name the folder"):
        FeatureStore(tmp_path)


@pytest.mark.parametrize("attributes", [{"encoder_id": "conch"}, {"encoder_id": "uni", "mpp_target": 1.0}, {}])
def test_mixed_origins_are_refused_with_counts_unless_allowed(tmp_path, attributes):
    for slide in ("a", "b"):
        write_h5(tmp_path / f"{slide}.h5", {"encoder_id": "uni", "mpp_target": 0.5}, features=FEATURES)
    write_h5(tmp_path / "c.h5", attributes, features=FEATURES)
    store = FeatureStore(tmp_path)
    with pytest.raises(
        DataError, match=r"differ in origin: 2 slides with encoder_id=uni, mpp_target=0.5; 1 slides with"
    ):
        store.check(["a", "b", "c"])
    assert set(store.check(["a", "b", "c"], allow_mixed=True)) == {"a", "b", "c"}


def test_two_magnifications_of_one_tile_size_are_a_mix_and_our_own_files_say_theirs_once(tmp_path):
    for slide, zoom in {"a": 20, "b": 20, "c": 40}.items():
        path = write_h5(tmp_path / f"{slide}.h5", features=FEATURES, coords=COORDS)
        with h5py.File(path, "a") as file:  # as TRIDENT leaves it
            file["features"].attrs["encoder"] = "uni"
            file["coords"].attrs.update(patch_size=256, level0_magnification=40, target_magnification=zoom)
    store = FeatureStore(tmp_path)
    seen = "encoder=uni, target_magnification={}, patch_size=256"
    with pytest.raises(DataError, match=f"2 slides with {seen.format(20)}; 1 slides with {seen.format(40)}. Use one"):
        store.check(["a", "b", "c"])
    assert set(store.check(["a", "b", "c"], allow_mixed=True)) == {"a", "b", "c"}
    ours = {"mpp_target": 0.5, "target_magnification": 20.0}
    write_features(tmp_path / "d.h5", FEATURES, COORDS, encoder="uni", attributes=ours)
    assert FeatureStore(tmp_path).header("d").origin == "encoder=uni, mpp_target=0.5"


def test_values_are_checked_before_training_only_when_asked(tmp_path):
    write_h5(tmp_path / "a.h5", features=np.full((1, 3), np.nan))
    assert FeatureStore(tmp_path).check(["a"], values=False)["a"].tiles == 1
    with pytest.raises(DataError, match="is nan"):
        FeatureStore(tmp_path).check(["a"])


def test_the_fingerprint_sees_a_changed_file_and_not_the_order(tmp_path):
    for slide in ("a", "b"):
        write_h5(tmp_path / f"{slide}.h5", features=FEATURES)
    store = FeatureStore(tmp_path)
    before = store.fingerprint(["a", "b"])
    assert before == store.fingerprint(["b", "a"]) != store.fingerprint(["a"])
    write_h5(tmp_path / "b.h5", features=FEATURES + 1)
    assert store.fingerprint(["a", "b"]) != before


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_fingerprint_of_tensor_files_sees_their_first_tile(tmp_path, kind):
    for folder, shift in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / folder).mkdir()
        torch.save(torch.from_numpy(FEATURES).to(kind) + shift, tmp_path / folder / "s.pt")
    one, same, other = (FeatureStore(tmp_path / folder).fingerprint(["s"]) for folder in "abc")
    assert one == same != other


def test_the_fingerprint_sees_a_file_that_only_grew(tmp_path):
    write_h5(tmp_path / "s.h5", features=FEATURES)
    before = FeatureStore(tmp_path).fingerprint(["s"])
    write_h5(tmp_path / "s.h5", features=FEATURES, thumbnail=np.zeros(100))
    assert FeatureStore(tmp_path).fingerprint(["s"]) != before


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux counts the bytes that a process reads")
@pytest.mark.parametrize("suffix", [".h5", ".pt"])
def test_the_fingerprint_does_not_read_files_to_their_end(tmp_path, suffix):
    tiles = np.zeros((2000, 500), np.float32)
    if suffix == ".h5":
        write_h5(tmp_path / "s.h5", features=tiles)
    else:
        torch.save(torch.from_numpy(tiles), tmp_path / "s.pt")
    store = FeatureStore(tmp_path)
    before = bytes_read()
    store.fingerprint(["s"])
    assert bytes_read() - before < tiles.nbytes / 10


def write_slideflow(folder: Path, settings: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    torch.save(torch.from_numpy(FEATURES), folder / "s.pt")
    np.savez(folder / "s.index.npz", COORDS.astype(np.float32) + 0.4)
    (folder / "bags_config.json").write_text(settings or json.dumps(SLIDEFLOW), encoding="utf-8")
    return folder


SLIDEFLOW = {"extractor": {"class": "slideflow.model.extractors.uni", "kwargs": {"tile_px": 256}}, "tile_px": 256,
             "tile_um": 128, "normalizer": {"method": "macenko", "fit": [1, 2]}, "num_features": 3}  # fmt: skip


def test_slideflow_bags_are_read_with_their_corners_and_their_origin(tmp_path):
    store = FeatureStore(write_slideflow(tmp_path))
    features, coords = store.read("s")
    assert store.slides == ("s",) and features.tolist() == FEATURES.tolist() and coords.tolist() == COORDS.tolist()
    origin = "extractor=slideflow.model.extractors.uni, tile_px=256, tile_um=128, normalizer=macenko"
    assert store.header("s").origin == origin
    assert store.attributes("s") == {}


def test_slideflow_bags_without_normalisation_say_nothing_of_it(tmp_path):
    write_slideflow(tmp_path, json.dumps({**SLIDEFLOW, "normalizer": None}))
    assert "normalizer" not in FeatureStore(tmp_path).header("s").origin


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (COORDS[:2], r"coords has shape \(2, 2\)"),
        (np.array([object()]), "no coordinates that can be read"),
        (None, "no coor"),
    ],
)
def test_a_slideflow_index_that_cannot_be_used_is_named(tmp_path, index, message):
    write_slideflow(tmp_path)
    if index is None:
        (tmp_path / "s.index.npz").write_bytes(b"PK\3\4 cut")
    else:
        np.savez(tmp_path / "s.index.npz", index)
    with pytest.raises(DataError, match=rf"s\.index\.npz'.*{message}"):
        FeatureStore(tmp_path).read("s")


def test_settings_of_slideflow_that_are_none_are_named(tmp_path):
    with pytest.raises(DataError, match=r"bags_config\.json' is no table of settings"):
        FeatureStore(write_slideflow(tmp_path, "[]")).header("s")


def test_a_file_tells_its_attributes_wherever_they_stand(tmp_path):
    write_features(tmp_path / "s.h5", FEATURES, COORDS, encoder="uni", attributes={"mpp_target": 0.5})
    said = FeatureStore(tmp_path).attributes("s")
    assert (said["encoder"], said["name"], said["mpp_target"], said["dtype"]) == ("uni", "s", 0.5, "float32")
    assert len(said["coords_sha256"]) == 64


def test_a_digest_is_of_values_and_places_and_not_of_names(tmp_path):
    for slide, shift in (("a", 0), ("b", 0), ("c", 1)):
        write_features(tmp_path / f"{slide}.h5", FEATURES, COORDS + shift, encoder=slide)
    store = FeatureStore(tmp_path)
    assert store.digest("a") == store.digest("b") != store.digest("c")


@pytest.mark.parametrize(("slide", "tiles"), [("TCGA-AD-6964-01Z-00-DX1", 777), ("TCGA-3X-AAVA-01Z-00-DX1", 180)])
def test_real_files_of_other_tools_are_read(slide, tiles):
    folder = DATA / "features/mopadi_patch_features"
    if not folder.is_dir():
        pytest.skip(f"real data: '{folder}' is not here; set SLIDESURV_DATA")
    features, coords = FeatureStore(folder).read(f"{slide}.features")
    assert features.shape == (tiles, 512) and coords.shape == (tiles, 2)
