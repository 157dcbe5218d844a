"""Weights in joblib's file are read as joblib reads them, and nothing in such a file is ever run."""

import collections
import io
import os
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reference.bulkrnabert import folder
from slidesurv.errors import DataError
from slidesurv.genomics.haiku import read_haiku

GOOD = {"net/~/linear": {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(3, np.float32)}}


def dumped(value, protocol=None) -> bytes:
    stream = io.BytesIO()
    joblib.dump(value, stream, protocol=protocol)
    return stream.getvalue()


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(
        one[module].keys() == other[module].keys()
        and all(
            np.array_equal(one[module][leaf], other[module][leaf])
            and one[module][leaf].dtype == other[module][leaf].dtype
            for leaf in one[module]
        )
        for module in one
    )


def test_golden_parameters_are_read_as_joblib_reads_them():
    files = sorted(folder().glob("*.joblib"))
    assert files
    for file in files:
        assert same(read_haiku(file.read_bytes(), where=file.name), joblib.load(file))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16, np.int64, np.uint8, np.bool_, ">f4"])
def test_every_protocol_and_kind_of_number_is_read(protocol, kind):
    matrix = np.arange(12).reshape(3, 4).astype(kind)
    value = {"m": {"c": matrix, "fortran": np.asfortranarray(matrix), "turned": matrix.T, "one": matrix[0, :1]}}
    assert same(read_haiku(dumped(value, protocol), where="x"), value)


def test_ordered_mappings_and_many_modules_are_read():
    value = collections.OrderedDict((f"module_{k}", {"w": np.full(k, k, np.float32)}) for k in range(1, 300))
    assert same(read_haiku(dumped(value), where="x"), value)


def test_the_mapping_of_older_programs_is_read(monkeypatch):
    """Haiku need not be installed: a stand-in under its name writes the same words."""
    import types

    module = types.ModuleType("haiku._src.data_structures")
    module.FlatMapping = type("FlatMapping", (), {"__module__": module.__name__})
    module.FlatMapping.__reduce__ = lambda self: (module.FlatMapping, (GOOD,))
    for name in ("haiku", "haiku._src", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    content = dumped(module.FlatMapping())
    monkeypatch.undo()
    assert same(read_haiku(content, where="x"), GOOD)
    assert module.__name__ not in sys.modules


def test_files_from_before_joblib_padded_its_arrays_are_read():
    content = dumped(GOOD)
    wrapper = joblib.numpy_pickle.NumpyArrayWrapper(np.ndarray, (3,), "C", np.dtype("f4"))
    del wrapper.numpy_array_alignment_bytes
    stream = io.BytesIO()
    pickler = pickle._Pickler(stream, 3)
    pickler.save = _unpadded(pickler, np.arange(3, dtype="f4"), wrapper)
    pickler.dump({"m": {"w": "here"}})
    assert read_haiku(stream.getvalue(), where="x")["m"]["w"].tolist() == [0, 1, 2]
    assert len(content) > len(stream.getvalue())


def _unpadded(pickler, values, wrapper):
    save = pickler.save

    def instead(value, *further):
        if value == "here":
            save(wrapper)
            pickler.write(values.tobytes())
        else:
            save(value, *further)

    return instead


class Runs:
    """What a hostile file is made of."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


HOSTILE = {
    "system": lambda command: Runs(os.system, command),
    "eval": lambda command: Runs(eval, f"__import__('os').system({command!r})"),
    "subprocess": lambda command: Runs(subprocess.check_call, command.split()),
    "nested": lambda command: {"m": {"w": Runs(os.system, command)}},
    "key": lambda command: {Runs(os.system, command): {"w": 1}},
    "beside arrays": lambda command: {**GOOD, "z": {"w": Runs(os.system, command)}},
}


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_and_leaves_no_trace(tmp_path, make, protocol):
    mark = tmp_path / "mark"
    content = dumped(make(f"touch {mark}"), protocol)
    with pytest.raises(DataError, match=r"'params\.joblib' is refused: it asks for .* which no weights need"):
        read_haiku(content, where="params.joblib")
    assert list(tmp_path.iterdir()) == []


def test_the_hostile_files_are_what_they_say(tmp_path):
    joblib.load(io.BytesIO(dumped(HOSTILE["system"](f"touch {tmp_path / 'mark'}"))))
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'touch /tmp/never'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        b"(S'touch /tmp/never'\nios\nsystem\n.",
        b"\x80\x02cnumpy\ndtype\n\x81.",
        b"\x80\x04cnumpy\nload\n.",
        b"\x80\x04cnumpy\nndarray\nK\x05\x85R.",
        b"\x80\x04cnumpy\ndtype\n\x8c\x01O\x85R.",
        b"\x80\x04cnumpy\ndtype\n\x8c\x02V8\x85R.",
        b"\x80\x04}}K\x01s.",
        b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}b.",
        b"\x80\x04\x82\x01.",
        b"\x80\x04Ppersistent\n.",
        b"\x80\x04]." + b"\x94" * 10,
        b")" + b"\x85" * 100_000 + b"}\x86.",
        b"\x80\x04}" + b")" + b"\x85" * 100_000 + b"K\x01s.",
    ],
)
def test_programs_for_the_machine_are_refused(content):
    with pytest.raises(DataError):
        read_haiku(content, where="x")


def array_words(**changes) -> bytes:
    """A file with one array whose wrapper says something else."""
    wrapper = joblib.numpy_pickle.NumpyArrayWrapper(np.ndarray, (3,), "C", np.dtype("f4"))
    vars(wrapper).update(changes)
    return pickle.dumps({"m": {"w": wrapper}}, 4)


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": (10**12,)},
        {"shape": (2**62, 2**62)},
        {"shape": (-1,)},
        {"shape": (1.5,)},
        {"shape": 3},
        {"shape": None},
        {"shape": tuple([1] * 100)},
        {"dtype": np.dtype(object)},
        {"dtype": np.dtype([("a", "f4")])},
        {"dtype": np.dtype("M8[s]")},
        {"dtype": "f4"},
        {"subclass": dict},
        {"subclass": np.matrix},
        {"order": None, "shape": (9,)},
        {"further": 1},
    ],
)
def test_arrays_that_cannot_be_are_refused(changes):
    with pytest.raises(DataError):
        read_haiku(array_words(**changes), where="x")


@pytest.mark.parametrize("value", [{}, [], 3, "text", {"m": 1}, {"m": {"w": 1}}, {"m": {"w": {"deeper": 1}}}])
def test_a_file_of_something_else_is_refused(value):
    with pytest.raises(DataError, match=r"'x' (holds no arrays by module and name|is refused)"):
        read_haiku(dumped(value), where="x")


@pytest.mark.parametrize("packed", ["zlib", "gzip", "bz2", "lzma"])
def test_a_packed_file_is_refused_with_the_remedy(packed, tmp_path):
    joblib.dump(GOOD, tmp_path / "p", compress=(packed, 3))
    with pytest.raises(DataError, match=r"not an uncompressed joblib file of arrays.*model\.safetensors|is refused"):
        read_haiku((tmp_path / "p").read_bytes(), where="x")


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 255), st.booleans())
@example(0, 0, True)
def test_a_damaged_file_gives_arrays_or_one_kind_of_error(place, value, cut):
    content = bytearray(dumped(GOOD))
    place %= len(content)
    content[place] = value
    try:
        read = read_haiku(bytes(content[:place] if cut else content), where="x")
    except DataError as error:
        assert str(error).startswith("'x' ")
        assert len(str(error)) < 400
    else:
        assert not cut
        assert all(isinstance(array, np.ndarray) for leaves in read.values() for array in leaves.values())
