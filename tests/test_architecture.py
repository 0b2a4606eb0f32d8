"""The layer table, the one place of every heavy package, and lazy imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "vicreg"

#: In the order of docs/architecture.md: a file imports only from files before it.
ORDER = [
    *(
        "config",
        "precision",
        "plain_state",
        "loss",
        "networks",
        "draws",
        "partners",
        "views",
        "pairs",
        "optim",
    ),
    *("frames", "table_file", "sources", "metrics", "label_free", "intervals"),
    *("journal", "owners", "storages", "studies"),
    *(
        "quantiles",
        "search_space",
        "neighbours",
        "coherence",
        "companions",
        "columns",
        "fingerprint",
        "per_row",
        "holdout",
        "counts",
        "moments",
        "text_columns",
        "table",
        "rules",
        "batches",
        "inference",
        "copies",
        "spectrum",
        "details",
        "neighbourhoods",
        "collapse",
        "history",
        "step",
        "stack",
        "training",
        "progress",
        "embedder",
        "preparation",
        "fitting",
        "memory",
        "objectives",
    ),
    *(
        "modelcard",
        "places",
        "persistence",
        "embedding_file",
        "header",
        "estimator",
        "targets",
        "spaces",
        "scores",
    ),
    *(
        "verdict",
        "shown_columns",
        "importance",
        "maps",
        "view",
        "packing",
        "report",
        "live",
        "events",
    ),
    *(
        "scored_rows",
        "scorecard",
        "evaluation",
        "plots",
        "trials",
        "trial_loop",
        "workers",
        "study_plots",
        "study_page",
        "finalists",
        "tuning_result",
        "tuning",
    ),
    *("command_outputs", "command_table", "options", "terminal"),
    *("demo_command", "fit_command", "embed_command", "evaluate_command", "tune_command"),
    *("info_command", "cli"),
]
#: Layer by layer; files of layer 0 may use each other only as listed here.
FOUNDATION = {
    "loss": {"precision"},
    "views": {"networks", "draws", "partners"},
    "pairs": {"networks", "views", "partners"},
    "label_free": {"metrics"},
    "table_file": {"frames"},
    "sources": {"frames", "table_file"},
    "storages": {"journal", "owners"},
    "studies": {"storages"},
}
LAYER_0 = ORDER[: ORDER.index("quantiles")]

#: Heavy packages and the files that may import them.
HOMES = {
    "matplotlib": {"plots", "study_plots"},
    "jinja2": {"report"},
    "markupsafe": {"report"},
    "umap": {"maps"},
    "torch.utils.tensorboard": {"events"},
    "pyarrow": {"table_file", "embedding_file", "command_table", "workers"},
    "cyclopts": {
        *("cli", "options", "demo_command", "fit_command", "embed_command"),
        *("evaluate_command", "tune_command", "info_command"),
    },
    "rich": {"terminal", "progress"},
    "safetensors": {"persistence"},
    "narwhals": {
        "frames",
        "table_file",
        "sources",
        "columns",
        "counts",
        "header",
        "spaces",
        "command_table",
        "workers",
    },
    "sklearn": {
        "plain_state",
        *("metrics", "label_free", "holdout", "objectives", "header", "estimator", "targets"),
        "spaces",
        *("scores", "maps", "evaluation", "tuning"),
        *("demo_command", "evaluate_command", "tune_command"),
    },
    "anndata": {"sources", "embedding_file"},
    "h5py": {"embedding_file"},
    "optuna": {
        *("journal", "owners", "storages", "studies", "trials", "trial_loop", "study_plots"),
        *("finalists", "tuning"),
    },
    "pandas": {"scorecard", "tuning_result"},
    "polars": set[str](),
}
#: What could run code from a file.
FORBIDDEN = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def imports_of(text: str, *, for_types: bool = True) -> set[str]:
    """Dotted names that a file imports, with or without those for type checkers only."""
    tree = ast.parse(text)
    skipped: set[ast.AST] = set()
    if not for_types:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                skipped |= set(ast.walk(node))
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def faults(name: str, text: str) -> list[str]:
    """What a file does against the rules."""
    if name not in ORDER:
        return [f"{name} is not in the layer table"]
    before = set(ORDER[: ORDER.index(name)])
    if name in LAYER_0:
        before = FOUNDATION.get(name, set())
    told = []
    for module in imports_of(text):
        package, _, rest = module.partition(".")
        if package == "vicreg" and rest and rest not in before:
            told.append(f"{name} may not import {rest}")
        if package in FORBIDDEN:
            told.append(f"{name} imports {package}")
    for module in imports_of(text, for_types=False):
        for package, homes in HOMES.items():
            if f"{module}.".startswith(f"{package}.") and name not in homes:
                told.append(f"{name} may not import {package}")
    for node in ast.walk(ast.parse(text)):
        called = (
            node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        )
        if called in {"eval", "exec", "__import__"}:
            told.append(f"{name} calls {called}")
    return told


FILES = sorted(path for path in SOURCE.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_keeps_to_its_layer(path: Path) -> None:
    assert faults(path.stem, path.read_text(encoding="utf-8")) == []


def test_the_table_has_no_file_that_is_gone() -> None:
    assert sorted(ORDER) == [path.stem for path in FILES]


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("loss", "from vicreg.estimator import VICReg", "loss may not import estimator"),
        ("optim", "from vicreg.networks import Encoder", "optim may not import networks"),
        ("table", "def f():\n    import vicreg.cli", "table may not import cli"),
        ("training", "import matplotlib.pyplot", "training may not import matplotlib"),
        (
            "live",
            "from torch.utils.tensorboard import SummaryWriter",
            "live may not import torch.utils.tensorboard",
        ),
        ("persistence", "import pickle", "persistence imports pickle"),
        ("cli", "eval('1')", "cli calls eval"),
        ("helpers", "", "helpers is not in the layer table"),
    ],
)
def test_the_rules_notice_a_fault(name: str, text: str, fault: str) -> None:
    assert faults(name, text) == [fault]


def test_documented_layers_are_these() -> None:
    page = (SOURCE.parent.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and line[2].isdigit()]
    told = [name.strip("` ") for row in rows for name in row.split("|")[2].split(",")]
    assert told == [*ORDER, "__init__"]


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted({{n.partition('.')[0] for n in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {"anndata", "matplotlib", "optuna", "pyarrow", "pandas", "polars", "jinja2", "cyclopts"}


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_after("import vicreg") & (HEAVY | {"torch", "sklearn", "numpy"})


def test_the_estimator_loads_no_pictures_frames_or_tuner() -> None:
    loaded = loaded_after("from vicreg import VICReg, evaluate, load, vicreg_loss")
    assert "torch" in loaded
    # scikit-learn itself loads pandas, and pandas pyarrow, where they are installed.
    assert not loaded & (HEAVY - {"pandas", "pyarrow"})


def test_the_command_lines_help_does_not_load_torch() -> None:
    assert not loaded_after("import vicreg.cli") & {"torch", "sklearn", "pyarrow", "matplotlib"}


def test_every_public_name_can_be_had() -> None:
    import vicreg

    for name in vicreg.__all__:
        assert getattr(vicreg, name).__doc__, name
    assert set(vicreg.__all__) <= set(dir(vicreg))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        vicreg.nothing  # noqa: B018
