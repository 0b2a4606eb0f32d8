"""Whose a trial is, and what becomes of one that was cut short.

On one machine a trial's owner is known by its process, so nothing has to be waited for; across
machines databases have heartbeats.
"""

from __future__ import annotations

import os
import socket
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

__all__ = [
    "CAUSE",
    "DIED",
    "GRACE",
    "INTERRUPTED",
    "OWNER",
    "RETRY_CAUSE",
    "RETRY_OF",
    "failed_itself",
    "give_back",
    "owner",
    "queue_again",
    "release_dead",
]

#: Seconds after which a silent trial counts as dead.
GRACE = 40
#: How often a trial whose worker died is tried again.
MOST_RETRIES = 3
OWNER, CAUSE, RETRY_OF, RETRY_CAUSE = "owner", "cause", "retry_of", "retry_cause"
#: Why a trial was cut short: by a person or a scheduler, or none knows.
INTERRUPTED, DIED = "interrupted", "worker died"
#: Where Optuna keeps the parameters that a trial was put in the queue with.
QUEUED = "fixed_params"


def owner() -> str:
    """This process: machine, boot, process number and start, so that no other is taken for it."""
    machine = f"{socket.gethostname()}/{_namespace()}"
    return ":".join([machine, _boot(), str(os.getpid()), _started(os.getpid()) or ""])


def release_dead(study: Study, cause: str = DIED) -> list[int]:
    """Fail trials whose process on this host is gone, and put them in the queue again.

    The first thing that a process does with a trial is to put its name to it. One that has been
    running without a name for longer than that can take belongs to a process that died before.

    Returns
    -------
    list of int
        The numbers of the trials.
    """
    released = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        of = trial.user_attrs.get(OWNER)
        gone = _age(trial) > GRACE if of is None else not _alive(str(of))
        if gone and give_back(study, trial.number, cause):
            released.append(trial.number)
    return released


def give_back(study: Study, number: int, cause: str) -> bool:
    """Fail a trial that was cut short, and put it in the queue again; False if it had ended."""
    trial = study.get_trials(deepcopy=False)[number]
    try:
        study._storage.set_trial_user_attr(trial._trial_id, CAUSE, cause)
        study.tell(number, state=TrialState.FAIL)
    except (ValueError, UpdateFinishedTrialError):  # another process was quicker
        return False
    queue_again(study, number, cause)
    return True


def queue_again(study: Study, number: int, cause: str) -> None:
    """Put the parameters of a failed trial in the queue, unless it cost its worker too often."""
    trial = study.get_trials(deepcopy=False)[number]
    # Who interrupts a search has nothing against the trial.
    retries = int(trial.user_attrs.get("retries", 0)) + (cause != INTERRUPTED)
    # A trial from the queue may have been cut short before it took what was meant for it.
    parameters = {**trial.system_attrs.get(QUEUED, {}), **trial.params}
    if not parameters or retries > MOST_RETRIES:
        return
    attributes = {RETRY_OF: number, "retries": retries, RETRY_CAUSE: cause}
    if "default" in trial.user_attrs:
        attributes["default"] = True
    study.enqueue_trial(parameters, user_attrs=attributes)


def failed_itself(trial: FrozenTrial) -> bool:
    """Whether a trial failed by what it did, and was not cut short."""
    cause = trial.user_attrs.get(CAUSE)
    return trial.state == TrialState.FAIL and cause not in (None, INTERRUPTED, DIED)


def _age(trial: FrozenTrial) -> float:
    """Seconds since a trial was begun."""
    begun = trial.datetime_start
    return 0.0 if begun is None else (datetime.now() - begun).total_seconds()


def _boot() -> str:
    identity = Path("/proc/sys/kernel/random/boot_id")
    return identity.read_text(encoding="ascii").strip() if identity.exists() else ""


def _namespace() -> str:
    """The number of what process numbers are of: containers have their own."""
    try:
        return "".join(filter(str.isdigit, str(Path("/proc/self/ns/pid").readlink())))
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Clock ticks at which a process began, None if it is gone or only waits to be buried."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _alive(of: str) -> bool:
    machine, boot, pid, started = of.rsplit(":", 3)
    host, _, namespace = machine.partition("/")
    if host != socket.gethostname():
        return True  # nothing is known of other machines; they have heartbeats
    if boot != _boot():
        return False
    if namespace not in ("", _namespace()):  # earlier versions named none
        return True  # nor of other containers
    if boot:
        return _started(int(pid)) == started
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
