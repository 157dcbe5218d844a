"""``slidesurv weights``: an encoder's weights from the hub, once, before a machine without a network needs them."""

from typing import Annotated

import typer

__all__ = ["weights"]


def weights(
    encoder: Annotated[str, typer.Argument(help="Name of an encoder, as 'slidesurv encode --encoder' takes it.")],
) -> None:
    """Download an encoder's weights into the hub's cache, where 'slidesurv encode' finds them.

    The one verb beside 'fetch' that uses the network. Gated weights need an account with access, and HF_TOKEN.

    Example: slidesurv weights uni
    """
    from slidesurv.slides.encoders.base import open_encoder

    opened = open_encoder(encoder, network=True)
    told = opened.provenance
    print(f"{opened.name}: {opened.dim} numbers a tile, sha256 {told['weights_sha256'] or 'none'}. {opened.licence}")
