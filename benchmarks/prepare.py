"""Prepare a folder of STAR counts, 60,660 genes a file: ours against plain pandas, one file after another.

The peer does what everybody's script does: `pd.read_csv` of the whole file, versions off, twins and summary rows out,
the genes of the list in their order, then one table, written packed. Both read files that were just written, so from
memory where it is large enough; what reading their bytes alone takes, from memory and from the disk, stands beside it.

    OMP_NUM_THREADS=1 python benchmarks/prepare.py [files]
"""

import mmap
import os
import shutil
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from race import extra_megabytes, peak_megabytes, race

from slidesurv.genomics.conversion import Recipe
from slidesurv.genomics.prepare import prepare_gdc
from slidesurv.genomics.prepared import write_prepared

GENES, LISTED, DISTINCT = 60_660, 19_062, 20
HEADER = (
    "# gene-model: GENCODE v36\ngene_id\tgene_name\tgene_type\tunstranded\tstranded_first\tstranded_second\t"
    "tpm_unstranded\tfpkm_unstranded\tfpkm_uq_unstranded\n"
    + "".join(
        f"N_{what}\t\t\t123456\t234567\t345678\n" for what in ("unmapped", "multimapping", "noFeature", "ambiguous")
    )
)


def write_files(folder: Path, files: int) -> tuple[str, ...]:
    """Write files with twenty different contents, and give the genes of a list."""
    random = np.random.default_rng(0)
    ids = [f"ENSG{number:011d}" for number in np.sort(random.choice(300_000, GENES, replace=False))]
    twins = set(range(0, GENES, GENES // 44))
    heads = [
        f"{gene}.{row % 19 + 1}{'_PAR_Y' if row in twins else ''}\tGENE{row}\ttranscribed_unprocessed_pseudogene"[:60]
        for row, gene in enumerate(ids)
    ]
    for number in range(files):
        path = folder / f"folder{number:04d}" / f"P{number:04d}.rna_seq.augmented_star_gene_counts.tsv"
        path.parent.mkdir()
        if number >= DISTINCT:
            twin = f"{number % DISTINCT:04d}"
            shutil.copyfile(folder / f"folder{twin}" / path.name.replace(f"{number:04d}", twin), path)
            continue
        counts = np.where(random.random(GENES) < 0.4, 0, random.lognormal(4, 2.5, GENES)).astype(np.int64)
        tpm = counts / random.lognormal(0.5, 0.8, GENES)
        tpm *= 1e6 / tpm.sum()
        rows = [
            f"{head}\t{reads}\t{reads // 2}\t{reads - reads // 2}\t{value:.4f}\t{value / 3:.4f}\t{value / 4:.4f}\n"
            for head, reads, value in zip(heads, counts.tolist(), tpm.tolist(), strict=True)
        ]
        path.write_text(HEADER + "".join(rows))
    kept = [gene for row, gene in enumerate(ids) if row not in twins]
    return tuple(np.array(kept)[np.sort(random.choice(len(kept), LISTED, replace=False))].tolist())


def plain_pandas(folder: Path, genes: tuple[str, ...]) -> pd.DataFrame:
    columns = {}
    for path in sorted(folder.glob("*/*.tsv")):
        table = pd.read_csv(path, sep="\t", comment="#")
        table = table[table["gene_name"].notna() & ~table["gene_id"].str.contains("PAR_Y")]
        values = table.set_index(table["gene_id"].str.split(".").str[0])["tpm_unstranded"]
        columns[path.name.split(".")[0]] = values.reindex(genes, fill_value=0.0)
    return pd.DataFrame(columns).T


def check(folder: Path, some: Path, genes: tuple[str, ...]) -> None:
    """Make sure that both have the same values, on three of the files."""
    for name in ("folder0000", "folder0001", "folder0002"):
        shutil.copytree(folder / name, some / name)
    assert np.array_equal(prepare_gdc(some, Recipe(genes=genes)).table.values, plain_pandas(some, genes).to_numpy())


def read_bytes(folder: Path) -> int:
    return sum(len(path.read_bytes()) for path in folder.glob("*/*.tsv"))


def read_disk(folder: Path) -> None:
    """Read every file past the system's memory (Linux)."""
    room = mmap.mmap(-1, 8 << 20)  # aligned, as the disk wants it
    for path in folder.glob("*/*.tsv"):
        file = os.open(path, os.O_RDONLY | os.O_DIRECT)
        while os.readv(file, [room]):
            pass
        os.close(file)


def main() -> None:
    files = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with TemporaryDirectory() as name:
        root = Path(name)
        (root / "gdc").mkdir()
        genes = write_files(root / "gdc", files)
        check(root / "gdc", root / "some", genes)
        print(f"{files:,} files, {read_bytes(root / 'gdc') / 1e9:.2f} GB")
        ours = partial(prepare_gdc, root / "gdc", Recipe(genes=genes))
        theirs = partial(plain_pandas, root / "gdc", genes)
        prepared = ours()
        table = pd.DataFrame(prepared.table.values, list(prepared.table.ids), list(genes))
        repeats = 1 if files > 200 else 3
        peers = {"plain pandas": theirs, "the bytes alone": partial(read_bytes, root / "gdc")}
        if sys.platform == "linux":
            peers["the bytes, from the disk"] = partial(read_disk, root / "gdc")
        race(f"read {files:,} files to patients x {LISTED:,} genes", ours, peers, repeats=repeats)
        to_csv = partial(table.to_csv, root / "t.csv.gz", compression={"method": "gzip", "compresslevel": 1})
        write = partial(write_prepared, root / "out", prepared)
        race("write the table as .csv.gz (ours also hashes it)", write, {"pandas, same level": to_csv}, repeats=repeats)
        table_megabytes = files * LISTED * 8 / 1e6
        print(f"\nreading takes {extra_megabytes(ours):.0f} MB; its table has {table_megabytes:.0f} MB")
    print(f"peak memory of this process: {peak_megabytes():.0f} MB")


if __name__ == "__main__":
    main()
