"""What can be followed while a fit runs: the page, TensorBoard's files, the observer itself."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vicreg import VICReg
from vicreg.cli import main
from vicreg.events import EventLog
from vicreg.history import Moment, Pulse
from vicreg.live import LivePage, LiveState, write_live_page

X = np.random.default_rng(0).normal(size=(60, 4))


def small(**settings: Any) -> VICReg:
    common: dict[str, Any] = {"n_components": 4, "hidden": (8,), "projector": (8,), "steps": 30}
    return VICReg(**{**common, "random_state": 0, "n_threads": 1, **settings})


def carried(path: Path) -> Any:
    page = path.read_text(encoding="utf-8")
    return json.loads(page.split('id="data">')[1].split("</script>")[0])["live"]["history"]


def test_an_observer_is_told_what_the_history_keeps() -> None:
    seen: list[Moment] = []
    model = small().fit(X, observe=seen.append)
    assert [moment.step for moment in seen] == model.history_["step"] == list(range(1, 31))
    assert [moment.total for moment in seen] == model.history_["total"]


def test_an_observer_changes_no_bit() -> None:
    one, other = small().fit(X), small().fit(X, observe=lambda moment: None)
    assert np.array_equal(one.transform(X), other.transform(X))


def test_signs_of_life_come_between_the_moments_and_change_no_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quiet = small(steps=90, patience=0).fit(X)
    with monkeypatch.context() as finer:
        finer.setattr("vicreg.training.EVALUATIONS", 90)
        losses = small(steps=90, patience=0).fit(X).history_["total"]
    monkeypatch.setattr("vicreg.training.PULSE", 0)
    signs: list[Pulse] = []
    model = small(steps=90, patience=0).fit(X, pulse=signs.append)
    assert [sign.step for sign in signs] == [step for step in range(1, 91) if step % 3]
    assert model.history_["total"] == quiet.history_["total"]
    assert np.array_equal(model.transform(X), quiet.transform(X))
    since = [np.mean(losses[(sign.step - 1) // 3 * 3 : sign.step]) for sign in signs]
    np.testing.assert_allclose([sign.total for sign in signs], since, rtol=1e-6)
    seconds = [sign.seconds for sign in signs]
    assert seconds == sorted(seconds)


def test_signs_of_life_are_a_second_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=0.25)
    monkeypatch.setattr("vicreg.training.time.perf_counter", lambda: next(clock))
    signs: list[Pulse] = []
    small(steps=300).fit(X, pulse=signs.append)
    assert len(signs) > 10
    assert np.diff([sign.seconds for sign in signs]).min() >= 1


def test_a_page_is_written_between_the_moments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vicreg.training.PULSE", 0)
    path = tmp_path / "live.html"
    moments: list[Moment] = []
    with LivePage(path, "fit", 90, every=0) as page:

        def observe(moment: Moment) -> None:
            moments.append(moment)
            page(moment)

        def pulse(sign: Pulse) -> None:
            page.pulse(sign)
            text = path.read_text(encoding="utf-8")
            told = f"s to go; loss {sign.total:.4g}"
            if moments:
                told += f"; effective rank {moments[-1].effective_rank:.1f} at step "
                told += str(moments[-1].step)
            assert f"Step {sign.step} of 90 after" in text
            assert f"{told}." in text

        small(steps=90).fit(X, observe=observe, pulse=pulse)
    assert carried(path)["step"] == list(range(3, 91, 3))


def test_the_page_is_whole_at_every_moment_of_a_fit(tmp_path: Path) -> None:
    path = tmp_path / "live.html"
    lengths: list[int] = []

    def look(moment: Moment) -> None:
        history = carried(path)
        lengths.append(len(history["step"]))
        page = path.read_text(encoding="utf-8")
        assert f"Step {moment.step} of 30" in page
        assert '<meta http-equiv="refresh" content="3">' in page

    page = LivePage(path, "fit of X", 30, every=0)
    with page:
        assert carried(path) is None

        def both(moment: Moment) -> None:
            page(moment)
            look(moment)

        model = small().fit(X, observe=both)
    assert lengths == list(range(1, 31))
    done = path.read_text(encoding="utf-8")
    assert "fit of X: finished" in done
    assert 'http-equiv="refresh"' not in done
    assert carried(path)["total"] == model.history_["total"]
    assert [file.name for file in tmp_path.iterdir()] == ["live.html"]


@pytest.mark.parametrize(
    ("stopped", "words"), [("early", ", stopped early;"), ("interrupted", ", interrupted;"),
                           ("finished", " s;")],
)  # fmt: skip
def test_a_page_that_has_ended_says_how_and_promises_nothing(
    tmp_path: Path, stopped: str, words: str
) -> None:
    path = tmp_path / "live.html"
    page = LivePage(path, "fit", 5000, every=0)
    with page:
        small().fit(X, observe=page)
        assert " s to go; loss" in path.read_text(encoding="utf-8")
        page.ended(31, stopped)  # after the last moment
    done = path.read_text(encoding="utf-8")
    assert "Step 31 of 5000 after " in done
    assert f"{words} loss" in done
    assert "to go" not in done


def test_half_a_pair_of_utf_16_costs_no_page(tmp_path: Path) -> None:
    write_live_page(tmp_path / "p.html", LiveState("a\ud800b", told="\udfff"))
    assert "a?b" in (tmp_path / "p.html").read_text(encoding="utf-8")


def test_the_page_is_not_written_more_often_than_asked(tmp_path: Path) -> None:
    path = tmp_path / "live.html"
    page = LivePage(path, "fit", 30, every=1e9)
    with page:
        small().fit(X, observe=page)
        assert carried(path) is None
    assert len(carried(path)["step"]) == 30


def test_a_fit_that_fails_leaves_a_page_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "live.html"
    with pytest.raises(ValueError, match="no luck"), LivePage(path, "fit", 30):
        raise ValueError("no luck <b>")
    page = path.read_text(encoding="utf-8")
    assert "fit: stopped" in page
    assert "ValueError: no luck &lt;b&gt;" in page
    assert 'http-equiv="refresh"' not in page


def test_a_page_can_show_pictures_of_other_work(tmp_path: Path) -> None:
    state = LiveState("tuning", told="trial 3 of 9", pictures=[("Trials", "best so far", "<svg/>")])
    write_live_page(tmp_path / "p.html", state)
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert 'alt="best so far"' in page
    assert "trial 3 of 9" in page


def test_the_command_line_writes_page_and_events(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setattr("warnings.showwarning", None)
    table = tmp_path / "t.csv"
    table.write_text(
        "a,b\n" + "".join(f"{i % 7},{i * i % 5}\n" for i in range(40)), encoding="utf-8"
    )
    live, events = tmp_path / "live.html", tmp_path / "events"
    main(
        [
            *("fit", str(table), "--out", str(tmp_path / "m"), "--steps", "12", "--hidden", "8"),
            *("--projector", "8", "--n-components", "4", "-q", "--json"),
            *("--watch", str(live), "--tensorboard", str(events)),
        ]
    )
    assert json.loads(capsys.readouterr().out)["steps"] == 12
    assert carried(live)["step"] == list(range(1, 13))
    assert "VICReg on t.csv: finished" in live.read_text(encoding="utf-8")
    # TensorBoard's own reader.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(events)).Reload()
    assert {"fit/total", "fit/invariance", "fit/effective_rank"} <= set(read.Tags()["scalars"])
    told = read.Scalars("fit/total")
    assert [one.step for one in told] == list(range(1, 13))
    np.testing.assert_allclose([one.value for one in told], carried(live)["total"], rtol=1e-6)


def test_tensorboard_that_is_not_there_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,5\n4,4\n", encoding="utf-8")
    given = [str(tmp_path / name) for name in ("t.csv", "m", "events")]
    with pytest.raises(SystemExit) as stop:
        main(["fit", given[0], "--out", given[1], "-q", "--tensorboard", given[2]])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"needs TensorBoard, however: .*pip install tensorboard", line)
    assert not (tmp_path / "m").exists()


def test_events_that_cannot_be_written_are_one_clear_line(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OSError, match="--tensorboard: .*file/events cannot be written: "):
        EventLog(tmp_path / "file" / "events")
