"""The course of a fit for TensorBoard."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from vicreg.history import Moment

__all__ = ["EventLog"]


class EventLog:
    """Writes every moment of a fit to a folder that TensorBoard reads.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    ImportError
        If TensorBoard is not installed.
    OSError
        If the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ImportError(
                "--tensorboard needs TensorBoard, however: it is not installed; "
                "pip install tensorboard"
            ) from None
        try:
            self._writer = SummaryWriter(str(folder))
        except OSError as error:
            raise type(error)(
                f"--tensorboard: {folder} cannot be written: {error.strerror}; choose another one"
            ) from None

    def __call__(self, moment: Moment) -> None:
        for name, value in moment._asdict().items():
            if name not in ("step", "seconds"):
                self._writer.add_scalar(f"fit/{name}", value, moment.step)

    def __enter__(self) -> EventLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
