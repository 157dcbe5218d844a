"""Small networks in TensorFlow Lite files, run by ai-edge-litert: quick on a CPU, without PyTorch.

Bytes go in as they are and features come out on the file's own scale. One tile goes in at a time, so that its features
never depend on the tiles beside it.
"""

from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from slidesurv.errors import ConfigError, DataError
from slidesurv.slides.encoders.base import Encoder, Weights, encoders, need
from slidesurv.slides.resolution import resize

__all__ = ["MobileNetV1", "TFLiteEncoder"]


class TFLiteEncoder(Encoder):
    """A network of bytes: (1, px, px, 3) in, D numbers out.

    Attributes:
        file: the name of its file at ``url``.
    """

    px: ClassVar[int]
    url = "https://github.com/google-coral/test_data"
    file: ClassVar[str]

    def __init__(self, weights: Weights | None) -> None:
        assert weights is not None, "find() raises"
        super().__init__(weights)
        library = need("ai_edge_litert.interpreter", self.name, "tflite")
        try:
            self._network = library.Interpreter(model_path=str(weights.path))
            self._network.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise DataError(f"'{weights.path}' is no TFLite file: {error}. {self._remedy()}") from error
        self._input, self._output = self._network.get_input_details()[0], self._network.get_output_details()[0]
        seen = [(detail["dtype"].__name__, _sides(detail)) for detail in (self._input, self._output)]
        if seen != [("uint8", [self.px, self.px, 3]), ("uint8", [self.dim])]:
            raise DataError(
                f"'{weights.path}' takes and gives {seen}; encoder '{self.name}' has uint8, {self.px} px in and "
                f"{self.dim} out. {self._remedy()}"
            )

    @classmethod
    @override
    def find(cls, *, network: bool) -> Weights | None:
        raise ConfigError(f"The weights of encoder '{encoders.name_of(cls)}' are not looked for. {cls._remedy()}")

    @classmethod
    def _remedy(cls) -> str:
        return f"Give --weights FILE: '{cls.file}' from {cls.url}."

    @property
    @override
    def transform(self) -> str:
        return f"resize {self.px} area"

    @override
    def _encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        scale, zero = self._output["quantization"]
        features = np.empty((len(tiles), self.dim), np.float32)
        for tile, row in zip(resize(tiles, self.px), features, strict=True):
            self._network.set_tensor(self._input["index"], tile[None])
            self._network.invoke()
            row[:] = self._network.get_tensor(self._output["index"]).ravel()
        return (features - zero) * np.float32(scale)


def _sides(detail: dict[str, Any]) -> list[int]:
    """The sides of a tensor that are not 1."""
    return [side for side in detail["shape"].tolist() if side != 1]


@final
@encoders.register("mobilenet-v1")
class MobileNetV1(TFLiteEncoder):
    """MobileNet at 224 px, taught on ImageNet, in 8 bits (Howard et al., 2017)."""

    dim, px = 1024, 224
    licence = "Apache-2.0"
    file = "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"
