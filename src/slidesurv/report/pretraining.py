"""The page of a pre-training: who taught, how the encoder learned, and who may be judged by it.

Reads ``pretrain.json``, ``config.json`` and ``history.csv``, which `slidesurv.genomics.pretrained` leaves behind.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from slidesurv.errors import DataError, listing
from slidesurv.files import read_csv, read_json, write_text
from slidesurv.report.drawing import BLUE, INK, ORANGE, Picture, canvas, style, svg
from slidesurv.report.render import render
from slidesurv.report.run import Numbers

__all__ = ["write_pretraining"]

JUDGED = ("held_out_loss", "held_out_accuracy", "majority_loss", "majority_accuracy")
COLUMNS = ("epoch", "learning_rate", "train_loss", *JUDGED)
NOBODY = "Nobody was left out on purpose: judge no patient of the table by these weights."
BEFORE = "They went on from other weights: whoever taught those has been seen too."
KEPT = "Both are a little too good: the epoch that was kept is the one whose loss on these patients is lowest."
TAUGHT = {
    "all": "all weights",
    "ia3": "multipliers of keys, values and hidden units (IA³), worked into the weights",
    "ia3+head": "multipliers of keys, values and hidden units (IA³), worked into the weights, and the last layer",
}
RULES = {"QuantileBins": "quantiles of each gene's values", "TPMBins": "the paper's rule for TPM"}

History = Mapping[str, Numbers]


def write_pretraining(folder: Path, *, left_out: str = "", command: str = "") -> Path:
    """Write ``report.html`` into the folder of a pre-training that came to its end.

    The same folder and words give the same bytes.

    Args:
        folder: as `slidesurv.genomics.pretrain.pretrain` leaves it.
        left_out: sentences that say which patients were left out, so that they may be judged; "" is none.
        command: that made it.

    Returns:
        Where the page stands.

    Raises:
        DataError: a file of the folder is missing or broken.
    """
    account, history = read_json(folder / "pretrain.json"), _read_history(folder / "history.csv")
    page = folder / "report.html"
    text = render(
        "pretraining.html.j2",
        mark="",
        is_safe=bool(left_out) and not account["origin"],
        seen=[left_out or NOBODY, *([BEFORE] if account["origin"] else [])],
        headline=[*_headline(account), KEPT],
        corpus=_corpus(account),
        encoder=_encoder(account, read_json(folder / "config.json")),
        recipe=_recipe(account["recipe"]),
        picture=_curves(account, history),
        history=[dict(zip(history, row, strict=True)) for row in zip(*history.values(), strict=True)],
        kept=account["kept"]["epoch"],
        account=account,
        command=command,
    )
    write_text(page, text)
    return page


def _read_history(path: Path) -> History:
    """Read every column as (epochs,) numbers.

    Raises:
        DataError: there is no epoch, or a column is missing or holds no number.
    """
    rows = read_csv(path)
    try:
        history = {name: np.array([float(row[name]) for row in rows]) for name in COLUMNS}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"'{path}' is not the history of a pre-training: {error}. Expected numbers under "
            f"{listing(COLUMNS, most=7)}. Teach into a new folder."
        ) from None
    if not rows:
        raise DataError(f"'{path}' has no epoch: there is nothing to show. Teach into a new folder.")
    return history


def _headline(account: Mapping[str, Any]) -> list[str]:
    """Say what the encoder learned, beside what is known without one."""
    kept, patients, bins = account["kept"], account["patients"]["held_out"], account["bins"]["count"]
    loss, guessed = kept["held_out_loss"], kept["majority_loss"]
    verdict = "" if loss < guessed else " It has learned nothing that these do not say."
    return [
        f"Of the genes hidden in {patients:,} patients held out, the encoder puts {kept['held_out_accuracy']:.1%} into "
        f"the right one of {bins} bins; naming each gene's most frequent bin gets {kept['majority_accuracy']:.1%}.",
        f"Its loss is {loss:.3f} nats a gene, that of the genes' own frequencies {guessed:.3f}.{verdict}",
    ]


def _corpus(account: Mapping[str, Any]) -> dict[str, str]:
    patients, bins = account["patients"], account["bins"]
    source = "taken over from the weights before" if account["origin"] else "fitted on those who taught"
    return {
        "Patients who taught": f"{patients['train']:,}",
        "Patients held out": f"{patients['held_out']:,}; they chose the epoch, and taught nothing",
        "Genes": f"{account['genes']:,}",
        "Bins": f"{bins['count']}, by {RULES.get(bins['rule'], bins['rule'])}; {source}",
    }


def _encoder(account: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, str]:
    return {
        "Blocks and heads": f"{config['num_layers']} blocks of {config['num_attention_heads']} heads",
        "Widths": f"{config['embed_dim']} a token, {config['ffn_embed_dim']} inside a block, "
        f"{config['init_gene_embed_dim']} a gene vector",
        "What was taught": TAUGHT.get(account["taught"], account["taught"]),
        "Before": account["origin"] or "new weights, drawn",
    }


def _recipe(recipe: Mapping[str, Any]) -> dict[str, str]:
    masking = recipe["masking"]
    rest = 1 - masking["hidden"] - masking["swapped"]
    return {
        "Epochs": f"{recipe['epochs']}, in steps of {recipe['batch']} patients",
        "Learning rate": f"{recipe['learning_rate']:g} at its highest, reached after {recipe['warm_up']:.0%} of the "
        f"steps; weight decay {recipe['weight_decay']:g}",
        "Genes asked for": f"{masking['share']:.0%} of a patient's; {masking['hidden']:.0%} of them hidden, "
        f"{masking['swapped']:.0%} swapped, {rest:.0%} shown; all hidden in patients held out",
        "Precision and seed": f"{recipe['precision']}, seed {recipe['seed']}",
    }


def _curves(account: Mapping[str, Any], history: History) -> Picture:
    """Draw loss and accuracy by epoch, with what needs no encoder as dots and the epoch that was kept."""
    epoch = account["kept"]["epoch"]
    losses = {"training": ("train_loss", BLUE, "--"), "held out": ("held_out_loss", ORANGE, "-")}
    with style():
        figure, (left, right) = canvas(9.6, 3.4, columns=2)
        _panel(left, history, epoch, losses, guess="majority_loss")
        _panel(right, history, epoch, {"held out": ("held_out_accuracy", ORANGE, "-")}, guess="majority_accuracy")
        left.set(title="loss, nats a hidden gene; smaller is better")
        right.set(title="hidden genes in the right bin; larger is better")
        right.yaxis.set_major_formatter(PercentFormatter(1))
        words = " ".join(_headline(account))
        drawn = svg(figure, name="learning", alt=f"Learning curves up to epoch {len(history['epoch'])}. {words}")
    caption = (
        f"The upright line and the filled marks: epoch {epoch}, which was kept. Dots: what each gene's frequencies "
        "among those who taught say without an encoder. The loss in training is of genes of which some are shown."
    )
    return Picture(drawn, caption)


def _panel(axes: Axes, history: History, epoch: int, lines: Mapping[str, tuple[str, str, str]], *, guess: str) -> None:
    """Draw columns of a history in one panel."""
    axes.axvline(epoch, color=INK, linewidth=0.6)
    for label, (column, colour, dash) in lines.items():
        axes.plot(history["epoch"], history[column], dash, color=colour, linewidth=1.6, label=label)
        axes.plot(epoch, history[column][history["epoch"] == epoch], "o", color=colour, markersize=5)
    axes.axhline(history[guess][0], color=INK, linestyle=":", linewidth=1.4, label="majority bin")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.legend(fontsize=8)
