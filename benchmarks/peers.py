"""Training of the same network on the same table: vicreg and its peers, in rows per second and MiB.

    python benchmarks/peers.py [--only NAME ...] [--steps 300] [--rounds 3] [--env .peers-venv]

Makes the virtual environment ``--env`` with the versions of ``peers-constraints.txt`` (Python 3.11
or newer), then starts every method in a process of its own, one after the other, ``--rounds``
times, with one thread each. `peer_runs.py` is what runs there, and says what each method does.
Installing needs a network; torchvision is not installed, which lightly's loss does without. All of
it takes a quarter of an hour, most of that in UMAP's compiling and in SCARF's loss.

rows/s: median (least to most); times: vicreg's median by the method's; peak: the process's largest
resident memory, and how much of it came with the training, beyond libraries and table. UMAP counts
each row once whatever it does with it, so only its seconds compare, with a fit of that many steps.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CONSTRAINTS = HERE / "peers-constraints.txt"

TABLES = [(20_000, 60), (5_000, 1_000)]
#: What pip installs for each method; the first one brings PyTorch for all of them.
PACKAGES = {
    "vicreg": ["--editable", str(HERE.parent)],
    "loop": ["--no-deps", "lightly"],  # its dependencies are torchvision and what goes with images
    "cebra": ["cebra"],
    "scarf-product": ["ts3l"],
    "scarf": ["ts3l"],
    "umap": ["umap-learn"],
}
LABELS = {
    "vicreg": "vicreg",
    "loop": "PyTorch loop, lightly's loss",
    "cebra": "CEBRA",
    "scarf-product": "TabularS3L SCARF, its loss by one matrix product",
    "scarf": "TabularS3L SCARF",
    "umap": "UMAP (rows counted once)",
}
#: Methods that take a share of the steps, for a step of theirs takes seconds.
SHARE = {"scarf": 1 / 30}
LIMIT_SECONDS = 900
THREADS = ("OMP", "MKL", "OPENBLAS", "NUMBA")


def install(env: Path, name: str) -> str:
    """Put a method's packages into the environment; returns why that failed, or nothing."""
    python = env / "bin" / "python"
    if not python.exists():
        venv.create(env, with_pip=True)
    pins = CONSTRAINTS.read_text(encoding="utf-8")
    ready = env / f"{name}.ready"
    if ready.exists() and ready.read_text(encoding="utf-8") == pins:
        return ""
    print(f"installing {name}", file=sys.stderr, flush=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    outcome = subprocess.run(
        [*pip, "-c", str(CONSTRAINTS), *PACKAGES[name]], capture_output=True, text=True, check=False
    )
    if outcome.returncode:
        errors = [line for line in outcome.stderr.splitlines() if line.startswith("ERROR")]
        return f"not installed: {_last_line(errors[0] if errors else outcome.stderr)}"
    ready.write_text(pins, encoding="utf-8")
    return ""


def run(env: Path, name: str, table: tuple[int, int], steps: int) -> dict[str, Any] | str:
    """One training run's report, or why there is none."""
    command = [str(env / "bin" / "python"), str(HERE / "peer_runs.py"), name]
    command += [str(number) for number in (*table, steps)]
    one_thread = {f"{library}_NUM_THREADS": "1" for library in THREADS}
    try:
        outcome = subprocess.run(
            command,
            env={**os.environ, **one_thread},
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"failed: took more than {LIMIT_SECONDS} s"
    if outcome.returncode:
        return f"failed: {_last_line(outcome.stderr) or f'status {outcome.returncode}'}"
    report: dict[str, Any] = json.loads(_last_line(outcome.stdout))
    return report


def row(
    table: tuple[int, int], name: str, reports: list[dict[str, Any]], vicreg: list[dict[str, Any]]
) -> str:
    """A line of the table."""
    rates = _rates(reports)
    times = "-"
    if vicreg and name not in ("vicreg", "umap"):
        times = f"{statistics.median(_rates(vicreg)) / statistics.median(rates):.1f}"
    seconds = statistics.median(report["seconds"] for report in reports)
    peak = statistics.median(report["peak"] for report in reports) / 2**20
    training = statistics.median(report["peak"] - report["before"] for report in reports) / 2**20
    return (
        f"| {table[0]}x{table[1]} | {LABELS[name]} "
        f"| {statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) "
        f"| {times} | {seconds:.1f} | {peak:.0f} | {max(0, training):.0f} |"
    )


def _rates(reports: list[dict[str, Any]]) -> list[float]:
    return [report["rows"] / report["seconds"] for report in reports]


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1].replace("|", "/")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PACKAGES, default=list(PACKAGES))
    parser.add_argument("--steps", type=int, default=300, help="training steps of 256 rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--env", type=Path, default=HERE.parent / ".peers-venv")
    options = parser.parse_args()
    if min(options.steps, options.rounds) < 1:
        parser.error(f"--steps and --rounds must be at least 1: {options.steps}, {options.rounds}")
    names = [name for name in PACKAGES if name in options.only]
    base = install(options.env, "vicreg")
    failures = {name: base or install(options.env, name) for name in names}
    versions: dict[str, str] = {}
    where = ""
    print("| table | method | rows/s | times | seconds | peak MiB | of it training |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for table in TABLES:
        reports: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        broken = {name: why for name, why in failures.items() if why}
        for turn in range(options.rounds):
            for name in names:
                if name in broken:
                    continue
                steps = max(1, round(options.steps * SHARE.get(name, 1)))
                print(f"{table}, round {turn + 1}: {name}", file=sys.stderr, flush=True)
                report = run(options.env, name, table, steps)
                if isinstance(report, str):
                    broken[name] = report
                    continue
                reports[name].append(report)
                versions[name], where = report["version"], report["machine"]
        for name in names:
            if name in broken:
                line = (
                    f"| {table[0]}x{table[1]} | {LABELS[name]} | {broken[name]} | - | - | - | - |"
                )
            else:
                line = row(table, name, reports[name], reports.get("vicreg", []))
            print(line, flush=True)
    if versions:
        print(f"\n{where}; {', '.join(dict.fromkeys(versions.values()))}.")


if __name__ == "__main__":
    main()
