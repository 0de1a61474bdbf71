"""Damaged files at every reader: `python -m benchmarks.fuzz [--cases N] [--seed S] [--seconds LIMIT] [--at-once P]`.

N files, in turn of each format of tests/training/data/test_hostile_files.py, cut and changed by its mutations and read
by all readers of the format, in a process a format. Printed are, a format, how many readings ended well and with a
declared error (ValueError, OSError), how many with another one, by the process' end or not within the limit, and by
how much the peak of memory rose over that of reading the whole file. Ends with 1 if there was any of the last three.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

READ, REFUSED, OTHER, DIED, HUNG = "read", "refused", "other error", "died", "hung"


def peak() -> int:
    """Most memory of this process so far, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def read_damaged(name: str, seeds: Iterable[int], results: Any) -> None:
    """Read the damaged files of a format; sends (outcomes, what was wrong, KiB of the peak more) a file."""
    from tests.training.data.test_hostile_files import FORMATS, mutated

    warnings.simplefilter("ignore")
    write, readers = FORMATS[name]
    with tempfile.TemporaryDirectory() as base:
        whole, path = Path(base, f"whole-{name}"), Path(base, name)
        write(whole)
        content = whole.read_bytes()
        path.write_bytes(content)
        for read in readers:
            read(path)
        results.send(None)
        before = peak()
        for seed in seeds:
            path.write_bytes(mutated(content, seed))
            outcomes, wrong = [], ""
            for read in readers:
                try:
                    read(path)
                    outcomes.append(READ)
                except (ValueError, OSError):
                    outcomes.append(REFUSED)
                except Exception as error:  # what is looked for
                    outcomes.append(OTHER)
                    wrong = f"{type(error).__name__}: {error}"
            results.send((outcomes, wrong, peak() - before))


def fuzz(name: str, seeds: range, limit: float) -> tuple[Counter[str], int]:
    """Outcomes of a format, and the most KiB by which the peak of memory rose; a process that ends is replaced."""
    context = multiprocessing.get_context("spawn")
    counts: Counter[str] = Counter()
    more = 0
    while seeds:
        results, sender = context.Pipe(duplex=False)
        process = context.Process(target=read_damaged, args=(name, seeds, sender))
        process.start()
        sender.close()
        if not results.poll(600) or results.recv() is not None:
            raise SystemExit(f"{name}: the whole file could not be read")
        for place, seed in enumerate(seeds):
            failed = HUNG
            if results.poll(limit):
                try:
                    outcomes, wrong, rise = results.recv()
                except EOFError:
                    failed = DIED
                else:
                    counts.update(outcomes)
                    more = max(more, rise)
                    if wrong:
                        print(f"  {name}, seed {seed}: {wrong}", flush=True)
                    continue
            print(f"  {name}, seed {seed}: {failed}", flush=True)
            counts[failed] += 1
            seeds = seeds[place + 1 :]
            break
        else:
            seeds = seeds[:0]
        process.kill()
        process.join()
    return counts, more


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cases", type=int, default=600, help="damaged files of all formats together")
    parser.add_argument("--seed", type=int, default=0, help="of the first damage")
    parser.add_argument("--seconds", type=float, default=30, help="in which a file is read or refused")
    parser.add_argument("--at-once", type=int, default=1, help="formats that are read beside each other")
    arguments = parser.parse_args()
    from tests.training.data.test_hostile_files import FORMATS

    each = -(-arguments.cases // len(FORMATS))
    whole: Counter[str] = Counter()
    most = 0
    print(f"{'file':<14}{READ:>8}{REFUSED:>9}{OTHER:>13}{DIED:>6}{HUNG:>6}  memory")
    seeds = range(arguments.seed, arguments.seed + each)
    # Each waits for a process of its own.
    with ThreadPoolExecutor(arguments.at_once) as threads:
        outcomes = {name: threads.submit(fuzz, name, seeds, arguments.seconds) for name in FORMATS}
    for name, outcome in outcomes.items():
        counts, more = outcome.result()
        whole += counts
        most = max(most, more)
        numbers = (counts[READ], counts[REFUSED], counts[OTHER], counts[DIED], counts[HUNG])
        print(
            "{:<14}{:>8}{:>9}{:>13}{:>6}{:>6}".format(name, *numbers), f" +{more / 1024:.0f} MiB", flush=True
        )
    wrong = whole[OTHER] + whole[DIED] + whole[HUNG]
    print(
        f"{each * len(FORMATS)} damaged files, {whole[READ] + whole[REFUSED]} readings: {whole[REFUSED]} declared "
        f"errors, {whole[READ]} read; {whole[OTHER]} other errors, {whole[DIED]} ends of the process, "
        f"{whole[HUNG]} beyond {arguments.seconds:g} s; memory at most +{most / 1024:.0f} MiB"
    )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
