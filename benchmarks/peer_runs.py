"""One training run of vicreg or a peer, in a process of its own; `peers.py` starts them.

    python benchmarks/peer_runs.py NAME ROWS COLUMNS STEPS

Prints one line of JSON: seconds, rows seen, resident memory before training and at its peak, the
versions and the machine. Linux only, for the memory. Every run warms up first on a narrow table.

The network is d -> 256 -> 128 with batch normalisation and ReLU, the projector 256, 256, 256, the
batch 256 rows, 30 % of the entries swapped, AdamW. Where a peer cannot be set to that, its function
says what it does instead. Imports that only one of the methods needs stand in its function, so that
they are missing in its own run alone and weigh on no other's memory.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib.util
import json
import resource
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from timing import machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Table = NDArray[np.float32]

BATCH, HIDDEN, COMPONENTS, PROJECTOR, SWAP, LR = 256, 256, 128, 256, 0.3, 1e-3
#: Rows and columns of the warm-up's table. From 4,096 rows on UMAP takes its way for large tables.
WARM_UP = (5000, 20)


class Trained(NamedTuple):
    """How long the training steps took, and how many rows they saw."""

    seconds: float
    rows: int


def structured_table(rows: int, columns: int) -> Table:
    """Ten hidden factors and noise, every column with mean 0 and deviation 1."""
    generator = np.random.default_rng(0)
    factors = generator.standard_normal((rows, 10)) @ generator.standard_normal((10, columns))
    table = factors / np.sqrt(10) + generator.standard_normal((rows, columns)) / 2
    standardised: Table = ((table - table.mean(axis=0)) / table.std(axis=0)).astype(np.float32)
    return standardised


def vicreg(table: Table, steps: int) -> Trained:
    """The public estimator, the whole of ``fit`` timed; it also has a skip connection to train."""
    from vicreg import VICReg

    model = VICReg(
        n_components=COMPONENTS,
        detail_share=0,
        swap=SWAP,
        sides="both",
        hidden=(HIDDEN,),
        projector=(PROJECTOR,) * 3,
        steps=steps,
        batch_size=BATCH,
        validation_fraction=0,
        patience=0,
        device="cpu",
        n_threads=1,
        random_state=0,
    )
    start = time.perf_counter()
    model.fit(table)
    return Trained(time.perf_counter() - start, model.n_iter_ * BATCH)


def loop(table: Table, steps: int) -> Trained:
    """A plain PyTorch loop: a data set of rows, a data loader, lightly's VICReg loss.

    The replacements are drawn for the whole batch at once, which is kinder than row by row.
    """
    data = torch.from_numpy(table)
    columns = data.shape[1]
    network = nn.Sequential(
        *(nn.Linear(columns, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU()),
        nn.Linear(HIDDEN, COMPONENTS),
        *(nn.Linear(COMPONENTS, PROJECTOR), nn.BatchNorm1d(PROJECTOR), nn.ReLU()),
        *(nn.Linear(PROJECTOR, PROJECTOR), nn.BatchNorm1d(PROJECTOR), nn.ReLU()),
        nn.Linear(PROJECTOR, PROJECTOR, bias=False),
    )
    criterion = _lightly_loss()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=1e-4)
    loader = DataLoader(_RowByRow(data), batch_size=BATCH, shuffle=True, drop_last=True)
    column = torch.arange(columns)

    def corrupt(batch: Tensor) -> Tensor:
        others = data[torch.randint(len(data), batch.shape), column]
        return torch.where(torch.rand(batch.shape) < SWAP, others, batch)

    done = 0
    start = time.perf_counter()
    while done < steps:
        for batch in loader:
            loss = criterion(network(corrupt(batch)), network(corrupt(batch)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
            if done == steps:
                break
    return Trained(time.perf_counter() - start, done * BATCH)


def scarf(table: Table, steps: int, loss: nn.Module | None = None) -> Trained:
    """TabularS3L's SCARF: the same network without skip, one view corrupted, NT-Xent loss.

    Without dropout, validation, log and checkpoints, and from the first step to the last. Its loss
    compares all pairs of projections in an array of 512 x 512 x 256, and that is nearly all of its
    time and memory; ``loss`` takes the place of it.
    """
    import pandas as pd
    import pytorch_lightning as lightning
    from ts3l.pl_modules import SCARFLightning
    from ts3l.utils import TS3LDataModule
    from ts3l.utils.backbone_utils import MLPBackboneConfig
    from ts3l.utils.embedding_utils import IdentityEmbeddingConfig
    from ts3l.utils.scarf_utils import SCARFConfig, SCARFDataset

    columns = table.shape[1]
    config = SCARFConfig(
        task="regression",
        loss_fn="MSELoss",
        metric="mean_squared_error",
        embedding_config=IdentityEmbeddingConfig(input_dim=columns),
        backbone_config=MLPBackboneConfig(
            input_dim=columns, hidden_dims=HIDDEN, output_dim=COMPONENTS, dropout_rate=0.0
        ),
        output_dim=1,
        pretraining_head_dim=PROJECTOR,
        head_depth=3,
        dropout_rate=0.0,
        corruption_rate=SWAP,
        optim_hparams={"lr": LR, "weight_decay": 1e-4},
    )
    frame = pd.DataFrame(table)
    rows = SCARFDataset(frame, config=config, continuous_cols=list(frame), category_cols=[])
    data = TS3LDataModule(
        rows, rows, batch_size=BATCH, train_sampler="random", n_jobs=0, drop_last=True
    )
    moments: list[float] = []
    clock = lightning.callbacks.LambdaCallback(
        on_train_start=lambda *_: moments.append(time.perf_counter()),
        on_train_end=lambda *_: moments.append(time.perf_counter()),
        # What its validation does: drop the losses kept since the last one, and their graphs.
        on_train_epoch_end=lambda _, module: module.first_phase_step_outputs.clear(),
    )
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        max_epochs=-1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    )
    module = SCARFLightning(config)
    if loss is not None:
        module.contrastive_loss = loss
    trainer.fit(module, data)
    start, end = moments
    return Trained(end - start, trainer.global_step * BATCH)


def scarf_product(table: Table, steps: int) -> Trained:
    """The same with the same loss from one matrix product: what the rest of the peer costs."""
    return scarf(table, steps, _NTXent())


def cebra(table: Table, steps: int) -> Trained:
    """CEBRA, self-supervised by time, the whole of ``fit`` timed.

    Its network for single rows is d -> 256 -> 256 -> 128 -> 128 without normalisation, and it has
    no projector. A step embeds a batch of rows, one of their neighbours in time and one of others.
    """
    from cebra import CEBRA

    model = CEBRA(
        model_architecture="offset1-model",
        num_hidden_units=HIDDEN,
        output_dimension=COMPONENTS,
        conditional="time",
        time_offsets=1,
        batch_size=BATCH,
        learning_rate=LR,
        max_iterations=steps,
        device="cpu",
    )
    start = time.perf_counter()
    model.fit(table)
    seconds = time.perf_counter() - start
    return Trained(seconds, len(model.state_dict_["loss"]) * BATCH)


def umap(table: Table, steps: int) -> Trained:  # noqa: ARG001
    """UMAP's ``fit`` with its defaults: two components, no network; every row is counted once."""
    from umap import UMAP

    model = UMAP(n_jobs=1, random_state=0)
    start = time.perf_counter()
    model.fit(table)
    return Trained(time.perf_counter() - start, len(table))


#: Every method with the distribution whose version is told.
METHODS: dict[str, tuple[Callable[[Table, int], Trained], str]] = {
    "vicreg": (vicreg, "vicreg"),
    "loop": (loop, "lightly"),
    "cebra": (cebra, "cebra"),
    "scarf-product": (scarf_product, "ts3l"),
    "scarf": (scarf, "ts3l"),
    "umap": (umap, "umap-learn"),
}


class _RowByRow(Dataset[Tensor]):
    def __init__(self, data: Tensor) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Tensor:
        return self.data[index]


class _NTXent(nn.Module):
    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        z = F.normalize(torch.cat((z1, z2)))
        own = torch.eye(len(z), dtype=torch.bool)
        similarity = (z @ z.T / 0.1).masked_fill(own, -torch.inf)  # 0.1 is the peer's temperature
        return F.cross_entropy(similarity, torch.arange(len(z)).roll(len(z1)))


def _lightly_loss() -> Any:
    """The loss from its own file: the package around it wants torchvision."""
    package = importlib.util.find_spec("lightly")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'lightly'")
    place = Path(package.origin).parent / "loss" / "vicreg_loss.py"
    spec = importlib.util.spec_from_file_location("lightly_vicreg_loss", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.VICRegLoss(nu_param=0.2)


def _resident_afresh() -> int:
    """Resident bytes once free memory has gone back to the system; forgets the peak so far."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=METHODS)
    parser.add_argument("rows", type=int)
    parser.add_argument("columns", type=int)
    parser.add_argument("steps", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    run, distribution = METHODS[options.name]
    run(structured_table(*WARM_UP), 2)
    table = structured_table(options.rows, options.columns)
    before = _resident_afresh()
    trained = run(table, options.steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    report = {
        **trained._asdict(),
        "before": before,
        "peak": peak,
        "version": f"{distribution} {version(distribution)}",
        "machine": machine(),
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
