"""How fast is search, and how much does the approximate one miss? Writes docs/SEARCH.md's figures.

    python benchmarks/index.py SOUNDS --cache vectors.npy [--rows 1000000] [--docs docs/SEARCH.md]

SOUNDS is a folder of recordings. The rows are embeddings of varied crops of them: eight seconds of
a random file at a random speed and level, in half of the cases mixed with another one, a frame
every half second. Embedding a million takes half an hour of one core; the rows are kept in the
cache, and a second run goes on from there. With --fill no more is embedded than the cache has; all
of that is measured first, then filled up to --rows with mixtures of two rows each, which lie closer
together than sounds do and press the recall down. Queries are rows that are not in the index.
Everything runs on one thread; the times are CPU times, the median of the queries. Recall is the
share of the ten nearest rows by float32 arithmetic; float16 swaps rows that are equally far to the
third digit. With --exact no graph is made, which takes minutes for a million.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from listen_embed import Embedder
from listen_embed.atomic import replacing
from listen_embed.finder import find_sounds
from listen_embed.index import Index
from listen_embed.index.build import Builder
from listen_embed.index.results import Rows

MODEL = "sea/64/general"
N_QUERIES, K = 100, 10
CROP_SECONDS, HOP_SIZE = 8.0, 0.5
SPEEDS = (0.7, 1.4)
LEVELS_DB = (-30.0, 10.0)
_SAVED_CROPS = 200


class Crops:
    """Random crops of recordings at the model's rate."""

    def __init__(self, folder: Path, sr: int) -> None:
        self.paths = [sound.path for sound in find_sounds(str(folder))]
        self.sr = sr
        self._sounds: dict[Path, np.ndarray] = {}

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return CROP_SECONDS of sound, float32."""
        samples = self._crop(rng)
        if rng.random() < 0.5:
            samples = samples + 10 ** (rng.uniform(-12, 6) / 20) * self._crop(rng)
        return (10 ** (rng.uniform(*LEVELS_DB) / 20) * samples).astype(np.float32)

    def _crop(self, rng: np.random.Generator) -> np.ndarray:
        samples = self._sound(self.paths[rng.integers(len(self.paths))])
        n_read = int(CROP_SECONDS * self.sr * np.exp(rng.uniform(*np.log(SPEEDS))))
        begin = rng.integers(max(1, len(samples) - n_read))
        read = np.resize(samples[begin : begin + n_read], n_read)
        positions = np.linspace(0, n_read - 1, int(CROP_SECONDS * self.sr))
        return np.interp(positions, np.arange(n_read), read)

    def _sound(self, path: Path) -> np.ndarray:
        if path not in self._sounds:
            samples, sr = soundfile.read(path, dtype="float32", always_2d=True)
            self._sounds[path] = soxr.resample(samples.mean(axis=1), sr, self.sr).astype(np.float16)
        return self._sounds[path].astype(np.float32)


def embedded(folder: Path, n_rows: int, cache: Path, seed: int = 0) -> np.ndarray:
    """Return float32 (n_rows, 64), from the cache as far as it goes."""
    rows = np.load(cache, allow_pickle=False) if cache.exists() else np.zeros((0, 64), np.float32)
    embedder = Embedder(MODEL, threads=1, center=False, hop_size=HOP_SIZE)
    crops = Crops(folder, embedder.spec.front_end.sample_rate)
    with tqdm(total=n_rows, initial=len(rows), unit=" rows", mininterval=10) as bar:
        while len(rows) < n_rows:
            rng = np.random.default_rng([seed, len(rows)])
            pieces = [frames(embedder, crops.draw(rng), crops.sr) for _ in range(_SAVED_CROPS)]
            rows = np.concatenate([rows, *pieces])
            with replacing(cache) as file:
                np.save(file, rows)
            bar.update(sum(map(len, pieces)))
    return rows[:n_rows]


def frames(embedder: Embedder, samples: np.ndarray, sr: int) -> np.ndarray:
    """Return the embeddings of the frames that lie inside, float32 (n, 64)."""
    return embedder.stream(sr).push(samples)[0]


def build(folder: Path, rows: np.ndarray, has_graph: bool) -> dict[str, float]:
    """Make the index; return CPU seconds and megabytes of its parts."""
    embedder = Embedder(MODEL)
    builder = Builder(folder, is_new=True)
    begin = time.process_time()
    with builder.adding():
        for first in range(0, len(rows), 1_000):
            vectors = rows[first : first + 1_000]
            starts = np.arange(len(vectors), dtype=float)
            name, digest = embedder.spec.name, embedder.digest
            builder.add(Rows(f"sound-{first}", vectors, starts, starts + 1, name, digest))
    exact_s, exact_mb = time.process_time() - begin, _megabytes(folder)
    begin = time.process_time()
    if has_graph:
        with Builder(folder, is_new=False).adding() as adder:
            adder.approximate()
    graph_s, graph_mb = time.process_time() - begin, _megabytes(folder) - exact_mb
    return {"exact_s": exact_s, "exact_mb": exact_mb, "graph_s": graph_s, "graph_mb": graph_mb}


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def timed(index: Index, queries: np.ndarray, approximate: bool) -> tuple[float, list[set[int]]]:
    """Return the median CPU milliseconds of a query, and the rows that each one found."""
    index.search(queries[0], K, distinct=False, approximate=approximate)
    times, found = [], []
    for query in queries:
        begin = time.process_time()
        hits = index.search(query, K, distinct=False, approximate=approximate)
        times.append(1000 * (time.process_time() - begin))
        found.append({hit.row for hit in hits})
    return float(np.median(times)), found


def true_neighbours(rows: np.ndarray, queries: np.ndarray) -> list[set[int]]:
    """Return the K nearest by float32 cosine."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return [set(np.argpartition(-(unit @ query), K)[:K].tolist()) for query in queries]


def recall(found: list[set[int]], true: list[set[int]]) -> float:
    """Return the share of true neighbours that were found."""
    return float(np.mean([len(f & t) / K for f, t in zip(found, true, strict=True)]))


def filled(rows: np.ndarray, n_rows: int) -> np.ndarray:
    """Return rows followed by mixtures of two of them, float32 (n_rows, 64)."""
    rng = np.random.default_rng(2)
    n_new = n_rows - len(rows)
    first, second = (rows[rng.integers(len(rows), size=n_new)] for _ in range(2))
    share = rng.uniform(0, 1, (n_new, 1)).astype(np.float32)
    return np.concatenate([rows, share * first + (1 - share) * second])


def report(rows: np.ndarray, queries: np.ndarray, what: str = "", has_graph: bool = True) -> str:
    """Measure and return the table."""
    true = true_neighbours(rows, queries)
    folder = Path(tempfile.mkdtemp(prefix="index-")) / "sounds.idx"
    try:
        cost = build(folder, rows, has_graph)
        index = Index(folder)
        exact_ms, exact = timed(index, queries, approximate=False)
        piecewise_ms, _ = timed(Index(folder, kept_bytes=0), queries[:20], approximate=False)
        graph_ms, near = timed(index, queries, approximate=True) if has_graph else (0.0, [])
    finally:
        shutil.rmtree(folder.parent)
    lines = [
        f"{len(rows):,} rows of `{MODEL}`{what}, {len(queries)} queries, one thread:",
        "",
        "| search | a query | recall@10 | on disk | CPU time to build |",
        "|---|--:|--:|--:|--:|",
        f"| exact, rows kept in memory | {exact_ms:.1f} ms | {recall(exact, true):.3f} "
        f"| {cost['exact_mb']:.0f} MB | {cost['exact_s']:.1f} s |",
        f"| exact, rows widened for each query | {piecewise_ms:.1f} ms "
        f"| {recall(exact, true):.3f} | | |",
    ]
    if has_graph:
        lines.append(
            f"| `--approximate` | {graph_ms:.2f} ms | {recall(near, true):.3f} "
            f"| {cost['graph_mb']:.0f} MB more | {cost['graph_s']:.0f} s more |"
        )
    return "\n".join(lines)


def main() -> None:
    """Embed what is missing, measure, print; with --docs replace the figures between markers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sounds", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--fill", action="store_true")
    parser.add_argument("--exact", action="store_true", help="leave the graph out")
    parser.add_argument("--docs", type=Path)
    args = parser.parse_args()
    if args.fill:
        everything = np.load(args.cache, allow_pickle=False)
    else:
        everything = embedded(args.sounds, args.rows + N_QUERIES, args.cache)
    order = np.random.default_rng(1).permutation(len(everything))
    rows, queries = everything[order[N_QUERIES:]], everything[order[:N_QUERIES]]
    text = report(rows, queries, has_graph=not args.exact)
    if args.fill:
        what = f", of which {len(rows):,} embedded and the rest mixtures of two"
        text += "\n\n" + report(filled(rows, args.rows), queries, what, has_graph=not args.exact)
    print(text)
    if args.docs:
        marked = re.compile(r"(<!-- index -->\n).*?(\n<!-- /index -->)", re.DOTALL)
        docs = args.docs.read_text(encoding="utf-8")
        args.docs.write_text(marked.sub(lambda m: m[1] + text + m[2], docs), encoding="utf-8")


if __name__ == "__main__":
    main()
