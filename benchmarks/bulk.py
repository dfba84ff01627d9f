"""What a bulk job costs over a plain loop, and what it survives; writes docs/BULK.md's figures.

    python benchmarks/bulk.py cost   [--files 200] [--docs docs/BULK.md]
    python benchmarks/bulk.py memory [--docs docs/BULK.md]
    python benchmarks/bulk.py kills  [--engines local ray dask] [--kills 20] [--docs docs/BULK.md]

cost: CPU time of a plain loop over the files in one process, and of every engine with two workers
(the shard function's own CPU per file in the workers, and all that the engine spends beyond that:
starting, loading models, messages). CPU times, never wall times, since others use the machine too.
A model on paper of ten million files on a hundred workers follows from the figures. It fails, once
the figures are printed, where an engine's workers take more than a plain loop's CPU time over 0.9 a
file, or Ray more than 15 CPU seconds besides.

memory: the largest resident memory of a worker that does 1,000 files, and 10,000.

kills: 300 recordings, bad ones among them; workers and drivers are killed at random, on the local
disk and on an S3 server of this machine (moto's). The rows' hash must be that of the undisturbed
run.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import soundfile

from listen_embed import Embedder
from listen_embed.bulk import listing, manifest
from listen_embed.bulk.engines import ENGINES
from listen_embed.bulk.job import left_to_do, run, settings_of
from listen_embed.bulk.manifest import Job, freeze

MODEL, HOP_SIZE = "sea/64/general", 1.0
WORKERS = 2
# Goals, in CPU time: the plain loop's share of what workers take, and what Ray may cost besides.
LEAST_SHARE, MOST_BESIDES_S = 0.9, 15.0


def write_sounds(folder: Path, n: int, seconds: float = 5.0) -> None:
    """Write recordings as ESC-50 has them: five seconds, here at 16 kHz."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(n):
        noise = rng.normal(0, 0.1, int(seconds * 16_000)).astype(np.float32)
        soundfile.write(folder / f"{i:06d}.wav", noise, 16_000)


def planned(sounds: Path, out: str, files_in_shard: int = 25, model: str = MODEL) -> Job:
    """Freeze a job of small shards, so that the workers have enough of them."""
    manifest.MAX_SHARD_FILES = files_in_shard
    embedder = Embedder(model, hop_size=HOP_SIZE, center=False, threads=1)
    return freeze(out, settings_of(embedder, model), listing.find([str(sounds)]))[0]


class Timed:
    """A job's work, writing down the CPU seconds of each shard in its worker."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.job, self.folder = job, folder

    def __call__(self, ref: manifest.ShardRef) -> object:
        """Do a shard."""
        from listen_embed.bulk import shard

        self._warm_up(ref)
        begin = time.process_time()
        report = shard.embed_shard(self.job, ref)
        spent = {"seconds": time.process_time() - begin, "files": ref.n_files}
        (self.folder / f"{ref.part}.json").write_text(json.dumps(spent))
        return report

    def _warm_up(self, ref: manifest.ShardRef) -> None:
        """Load all that a process loads once: that belongs to the engine's fixed cost."""
        from listen_embed.bulk import shard
        from listen_embed.bulk.parts import PartWriter

        embedder = shard._embedder(self.job.settings)
        item = self.job.items(ref)[0]
        listing.opened(item).close()
        embedding, starts = embedder.embed(np.ones(32_000, np.float32), 16_000)
        with PartWriter(io.BytesIO(), self.job.settings) as writer:
            writer.add("x", embedding, starts)


def plain_loop(sounds: Path) -> float:
    """Return CPU seconds a file, without storing anything."""
    embedder = Embedder(MODEL, hop_size=HOP_SIZE, center=False, threads=1)
    paths = sorted(sounds.iterdir())
    embedder.embed_file(paths[0])
    begin = time.process_time()
    for path in paths:
        embedder.embed_file(path)
    return (time.process_time() - begin) / len(paths)


def same_process(sounds: Path) -> float:
    """Return CPU seconds a file of the shard function where the plain loop runs."""
    from listen_embed.bulk.shard import embed_shard

    with tempfile.TemporaryDirectory(prefix="bulk-") as folder:
        job = planned(sounds, f"{folder}/out")
        refs = list(job.shards())
        embed_shard(job, refs[0])
        begin = time.process_time()
        for ref in refs:
            embed_shard(job, ref)
        return (time.process_time() - begin) / job.n_files


def engine_cost(name: str, sounds: Path) -> tuple[float, float]:
    """Return the workers' CPU seconds a file, and the CPU seconds of everything else together."""
    with tempfile.TemporaryDirectory(prefix="bulk-") as folder:
        planned(sounds, f"{folder}/out")
        os.mkdir(f"{folder}/spent")
        command = [sys.executable, __file__, "_engine", name, f"{folder}/out", f"{folder}/spent"]
        total = _cpu_of(command)
        spent = [json.loads(path.read_text()) for path in Path(folder, "spent").iterdir()]
    in_shards = sum(entry["seconds"] for entry in spent)
    return in_shards / sum(entry["files"] for entry in spent), total - in_shards


def _cpu_of(command: list[str]) -> float:
    """Return CPU seconds of a command's whole session; its daemons are counted while they live."""
    from tests.bulk.kills import cpu_seconds, members

    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    seen: dict[int, float] = {}
    while process.poll() is None:
        for pid in members(process.pid):
            seen[pid] = max(seen.get(pid, 0.0), cpu_seconds(pid))
        time.sleep(0.02)
    if process.returncode:
        raise RuntimeError(f"{command} failed")
    return sum(seen.values())


def run_engine(name: str, out: str, spent: Path) -> None:
    """Run a job through an engine with timed work; what `engine_cost` starts."""
    from listen_embed.bulk.engines import engine

    job = Job.read(out)
    for report in engine(name).run(Timed(job, spent), left_to_do(job), WORKERS, None):
        assert not report.error, report.error


def missed(plain: float, measured: dict[str, tuple[float, float]]) -> list[str]:
    """Return which goals were missed, in words."""
    found = [
        f"{name}: {plain / a_file:.2f} of the plain loop's pace, not {LEAST_SHARE}"
        for name, (a_file, _) in measured.items()
        if plain / a_file < LEAST_SHARE
    ]
    besides = measured["ray"][1]
    if besides > MOST_BESIDES_S:
        found.append(f"ray: {besides:.1f} CPU seconds besides, not {MOST_BESIDES_S:g}")
    return found


def cost(n_files: int) -> tuple[str, list[str]]:
    """Measure every engine beside the plain loop; return the figures, and the goals missed."""
    lines = [
        f"{n_files} recordings of five seconds, `{MODEL}`, hop {HOP_SIZE:g} s, {WORKERS} workers; "
        "CPU times:",
        "",
        "| | a file, in the workers | of the plain loop | everything else, once |",
        "|---|--:|--:|--:|",
    ]
    with tempfile.TemporaryDirectory(prefix="bulk-") as folder:
        sounds = Path(folder, "sounds")
        write_sounds(sounds, n_files)
        before = plain_loop(sounds)
        shards = same_process(sounds)
        measured = {name: engine_cost(name, sounds) for name in ENGINES}
        plain = (before + plain_loop(sounds)) / 2
    lines.append(f"| plain loop | {1000 * plain:.1f} ms | 1 | |")
    lines.append(f"| shards, same process | {1000 * shards:.1f} ms | {shards / plain:.2f} | |")
    for name, (a_file, fixed) in measured.items():
        lines.append(f"| {name} | {1000 * a_file:.1f} ms | {a_file / plain:.2f} | {fixed:.1f} s |")
    return "\n".join([*lines, "", on_paper(measured["ray"][0])]), missed(plain, measured)


def on_paper(seconds_a_file: float) -> str:
    """Return what ten million files would take, from the measured cost of one."""
    n_files, n_workers, size = 10_000_000, 100, 160_000
    n_shards = (
        n_files // manifest.MAX_SHARD_FILES if manifest.MAX_SHARD_FILES > 200 else (n_files // 256)
    )
    rows = n_files * 5
    seconds = n_files * seconds_a_file / n_workers
    dollars = n_workers * seconds / 3600 * 0.04
    requests = n_files + 3 * n_shards
    return (
        f"On paper, ten million such files ({n_files * size / 1e12:.1f} TB) on {n_workers} workers "
        f"of one core: {n_shards:,} shards and as many parts, {requests / 1e6:.1f} million "
        f"requests (a GET for each file; a PUT, a HEAD and a read of the manifest for each shard: "
        f"about {requests * 0.4e-6 + n_shards * 5e-6:.0f} dollars at S3's list price of 0.40 per "
        f"million GET and 5 per million PUT), {seconds / 3600:.1f} hours, "
        f"{dollars:.0f} dollars of cores at 0.04 an hour, {rows * 280 / 1e9:.0f} GB of Parquet."
    )


def peak_memory(sounds: Path, n: int) -> float:
    """Return the largest resident memory, in MB, of a process that does the first `n` files."""
    with tempfile.TemporaryDirectory(prefix="bulk-") as folder:
        command = [sys.executable, __file__, "_worker", str(sounds), f"{folder}/out", str(n)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.split()[-1])


def work(sounds: Path, out: str, n: int) -> None:
    """Do shards of `n` files in all in this process and print its peak; `peak_memory` starts it."""
    from listen_embed.bulk.shard import embed_shard

    job = planned(sounds, out, 256, "sea/32/nano")
    n_done = 0
    for ref in job.shards():
        if n_done < n:
            n_done += embed_shard(job, ref).n_files
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def memory() -> str:
    """Measure memory over 1,000 and 10,000 files."""
    with tempfile.TemporaryDirectory(prefix="bulk-") as folder:
        sounds = Path(folder, "sounds")
        write_sounds(sounds, 10_000, seconds=2.0)
        few, many = peak_memory(sounds, 1_000), peak_memory(sounds, 10_000)
    return (
        f"Peak memory of a worker: {few:.0f} MB after 1,000 files, {many:.0f} MB after 10,000 "
        f"({many / few - 1:+.1%})."
    )


@contextmanager
def s3() -> Iterator[str]:
    """Give a bucket on moto's server on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    import s3fs

    s3fs.S3FileSystem(use_listings_cache=False).mkdir("archive")
    yield "s3://archive"
    server.stop()


def kills(engines: list[str], n_kills: int) -> str:
    """Kill every engine on both storages; return the table."""
    from tests.bulk import kills as killing
    from tests.bulk import world

    manifest.MAX_SHARD_FILES = 5
    lines = [
        "| engine | storage | workers killed | drivers killed | lost | doubled | left behind |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    with tempfile.TemporaryDirectory(prefix="bulk-") as folder, s3() as bucket:
        sounds = Path(folder, "sounds")
        world.write_sounds(sounds, 296)
        slow = {"model": world.SLOW_MODEL, "hop_size": 0.05}
        undisturbed = world.planned(str(sounds), f"{folder}/undisturbed", **slow)
        run(undisturbed, left_to_do(undisturbed))
        expected = world.rows(undisturbed)
        for name in engines:
            for storage, out in (("disk", f"{folder}/{name}"), ("S3", f"{bucket}/{name}")):
                job = world.planned(str(sounds), out, **slow)
                counts = killing.disturbed(job, name, n_kills, seed=len(lines))
                found = world.rows(job)
                same = world.row_hash(job) == world.row_hash(replace(undisturbed))
                assert same, f"{name} on {storage}: the rows differ"
                lost, doubled = len({*expected} - {*found}), len(found) - len({*found})
                hidden = len(world.hidden(Path(folder, name))) if storage == "disk" else 0
                lines.append(
                    f"| {name} | {storage} | {counts['worker']} | {counts['driver']} "
                    f"| {lost} | {doubled} | {hidden} |"
                )
                print(lines[-1], flush=True)
                shutil.rmtree(Path(folder, name), ignore_errors=True)
    return "\n".join(lines)


def with_rows_of(table: str, before: str) -> str:
    """Return a table with the rows that an earlier one has of other engines."""
    head, rows = table.split("\n")[:2], table.split("\n")[2:]
    measured = {row.split("|")[1] for row in rows}
    others = [row for row in before.split("\n") if row.startswith("| ") and row != head[0]]
    rows += [row for row in others if row.split("|")[1] not in measured]
    order = [f" {name} " for name in ENGINES]
    return "\n".join([*head, *sorted(rows, key=lambda row: order.index(row.split("|")[1]))])


def main() -> None:
    """Measure and print; with --docs replace the figures between their markers."""
    if sys.argv[1:2] == ["_engine"]:
        run_engine(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
        return
    if sys.argv[1:2] == ["_worker"]:
        work(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("cost", "memory", "kills"))
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--docs", type=Path)
    args = parser.parse_args()
    goals: list[str] = []
    if args.what == "cost":
        text, goals = cost(args.files)
    elif args.what == "memory":
        text = memory()
    else:
        text = kills(args.engines, args.kills)
    print(text)
    if args.docs:
        marked = re.compile(rf"(<!-- {args.what} -->\n).*?(\n<!-- /{args.what} -->)", re.DOTALL)
        docs = args.docs.read_text(encoding="utf-8")
        if args.what == "kills" and (before := marked.search(docs)):
            text = with_rows_of(text, before[0])
        args.docs.write_text(marked.sub(lambda m: m[1] + text + m[2], docs), encoding="utf-8")
    if goals:
        sys.exit("missed: " + "; ".join(goals))


if __name__ == "__main__":
    main()
