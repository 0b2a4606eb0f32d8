"""The README's Python runs as it stands, and has the figures that stand beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
#: The methods of the README's first table, which the example prints.
METHODS = {
    "vicreg": "vicreg",
    "raw, standardised": "raw",
    "raw, unscaled": "raw unscaled",
    "PCA of the same width": "pca",
    "the same encoder, untrained": "untrained",
    "trained on shuffled columns": "shuffled",
}


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_readme_has_python_to_run() -> None:
    assert python_blocks(README.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_readme_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # The figures are float32's; bfloat16, where a processor has it, is a draw of its own.
    monkeypatch.setattr("vicreg.preparation.bfloat16_pays", lambda *_: False)
    names: dict[str, object] = {}
    text = README.read_text(encoding="utf-8")
    for block in python_blocks(text):
        exec(compile(block, str(README), "exec"), names)
    assert bool((names["Z"] == names["Z_again"]).all())  # type: ignore[attr-defined]
    assert (tmp_path / "report.html").stat().st_size > 10_000
    scores = names["card"].scores  # type: ignore[attr-defined]
    told = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", text, flags=re.MULTILINE)
    figures: dict[str, list[str]] = {}
    for name, *line in told:  # the second table has names of the first again
        figures.setdefault(name.strip("*"), [one.strip("*") for one in line])
    for told_as, method in METHODS.items():
        wanted = [scores[method][measure] for measure in ("silhouette", "10-NN", "linear")]
        assert [float(one) for one in figures[told_as]] == pytest.approx(wanted, abs=0.015)
