"""Embed a folder on all cores into one table of means, whatever some of its files may hold.

Usage: python embed_folder.py FOLDER TABLE.npz
"""

import sys
from pathlib import Path

import numpy as np

import listen_embed


def main(folder: str, table: str) -> None:
    sounds = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    names, means = [], []
    for result in listen_embed.embed_files(sounds, jobs=0, progress=True):
        if result.error:
            print(result.error, file=sys.stderr)
            continue
        names.append(str(result.path))
        means.append(result.embedding.mean(axis=0))
    np.savez(table, name=names, mean=np.array(means))
    print(f"{len(names)} of {len(sounds)} files -> {table}")


if __name__ == "__main__":  # the processes that embed_files starts import this file, too
    main(*sys.argv[1:])
