"""The command line: its commands by name, and how it ends.

Exit status 0, or another with one line on stderr. ``--json`` prints one machine-readable line on
stdout.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError, Parameter

from vicreg import __version__
from vicreg.demo_command import demo
from vicreg.embed_command import embed
from vicreg.evaluate_command import evaluate
from vicreg.fit_command import fit
from vicreg.info_command import info
from vicreg.options import converted
from vicreg.terminal import show_warning
from vicreg.tune_command import tune

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Terminated", "app", "main"]

#: Seconds in which a second SIGTERM is taken for the first: ``timeout`` and schedulers send it to
#: the process and to its group, and what the first has begun to put away must not be cut short.
SAME_SIGNAL = 5.0

app = App(
    name="vicreg",
    help="Embeddings of matrices and tables without labels, learnt with VICReg.",
    version=__version__,
    default_parameter=Parameter(converter=converted),
    suppress_keyboard_interrupt=False,  # main has a word to say about it
)
for _command in (demo, fit, embed, evaluate, tune, info):
    app.command(_command)


class Terminated(SystemExit):
    """SIGTERM: from ``kill``, ``docker stop`` or a cluster's time limit."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Exits with 0, with 2 after an error, with 130 after Ctrl-C and with 143 after SIGTERM.
    """
    warnings.showwarning = show_warning
    try:
        with _sigterm_raised(is_last=arguments is None):
            app(
                list(sys.argv[1:] if arguments is None else arguments),
                exit_on_error=False,
                print_error=False,
                result_action="return_value",
            )
    except (
        CycloptsError,
        ValueError,
        TypeError,
        OSError,
        ArithmeticError,
        ImportError,
        RuntimeError,
    ) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"vicreg: error: {message}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, Terminated) as stop:
        by_signal = isinstance(stop, Terminated)
        word = "terminated" if by_signal else "interrupted"
        print(": ".join(["vicreg", word, *map(str, stop.args)]), file=sys.stderr)
        sys.exit(143 if by_signal else 130)


@contextmanager
def _sigterm_raised(*, is_last: bool) -> Iterator[None]:
    """SIGTERM as an exception, so that files, pages and workers are put away as after Ctrl-C.

    Where that is the last thing that the process does, a second one cannot change its exit status.
    """
    before = signal.getsignal(signal.SIGTERM)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or before in (None, signal.SIG_IGN):  # not ours to change
        yield
        return
    since = -SAME_SIGNAL

    def end(_signal: int, _frame: object) -> None:
        nonlocal since
        now = time.monotonic()
        if now - since >= SAME_SIGNAL:
            since = now
            raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        is_told = since >= 0
        signal.signal(signal.SIGTERM, signal.SIG_IGN if is_told and is_last else before)


if __name__ == "__main__":
    main()
