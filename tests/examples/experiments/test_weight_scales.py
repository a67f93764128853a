"""The experiments about the initial scale of the weights, the baseline, and the commands that run experiments."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinygraph.compiler import numpy_backend

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")
pytest.importorskip("tqdm")

ROOT = Path(__file__).parents[3]
SCALES = "examples.experiments.weight_scales_mnist"


def experiment(name):
    return importlib.import_module(f"examples.experiments.{name}")


def command(module, *arguments, **options):
    """A command line of its own; what is done with it is up to the test."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", **options}
    return {
        "args": [sys.executable, "-W", "error", "-m", module, *map(str, arguments)],
        "cwd": ROOT,
        "env": environment,
        "text": True,
        "encoding": "utf-8",
    }


def said(module, *arguments, **options):
    """What a command that fails says, which is no traceback."""
    done = subprocess.run(**command(module, *arguments, **options), capture_output=True)
    assert done.returncode
    assert "Traceback" not in done.stderr
    return done.stderr


def swapped(nets):
    return {"with": nets["without"], "without": nets["with"]}


# -- weight_scales_mnist -------------------------------------------------------------------------------------


def test_batch_norm_is_ahead_at_most_scales(quick):
    numbers = quick("weight_scales_mnist")
    last = [(nets["with"][-1], (nets["without"] or [0])[-1]) for nets in numbers["scales"].values()]
    assert sum(a > b for a, b in last) >= 0.75 * len(last)
    assert sum(b < 0.2 for _, b in last) > sum(a < 0.2 for a, _ in last)


def test_a_network_that_diverges_has_no_later_epochs(quick):
    numbers = quick("weight_scales_mnist")
    assert len(numbers["scales"]["1"]["without"]) < numbers["epochs"] == len(numbers["scales"]["1"]["with"])
    figure = experiment("weight_scales_mnist").plot(numbers)
    texts = [[text.get_text() for text in panel.texts] for panel in figure.axes]
    assert texts == [["diverges in epoch 1"], [], [], []]


def test_both_networks_see_the_same_batches(monkeypatch, tmp_path):
    """And start from the same weights. Another seed gives others."""
    module = experiment("weight_scales_mnist")
    tg, seen = module.tg, []
    mlp, cross_entropy = tg.nn.mlp, tg.cross_entropy

    def made(*args, **options):
        model = mlp(*args, **options)
        seen[-1].append([block.numpy().tolist() for name, block in model.named_parameters() if "linear" in name])
        return model

    def judged(outputs, targets):
        seen[-1].append(targets.tolist())
        return cross_entropy(outputs, targets)

    monkeypatch.setattr(tg.nn, "mlp", made)
    monkeypatch.setattr(tg, "cross_entropy", judged)
    for seed, batch_norm in ((0, True), (0, False), (1, True)):
        settings = module.Settings("weight_scales_mnist", quick=True, out=tmp_path, seed=seed)
        data, _ = settings.load(limit=200)
        seen.append([])
        module.accuracies(settings, data, 0.1, 1, batch_norm)
    with_, without, other = seen
    assert len(with_) > 2
    assert with_ == without
    assert with_[0] != other[0]
    assert with_[1] != other[1]


@pytest.mark.parametrize(
    ("nets", "text"),
    [
        ({"with": [0.1, 0.9], "without": [0.1, 0.15]}, "ahead at 1 of 1 scales; nothing is learnt"),
        ({"with": [0.1, 0.15], "without": [0.1, 0.9]}, "ahead at 0 of 1 scales"),
        ({"with": [0.1, 0.15], "without": [0.1, 0.9]}, "at 0 without it and at 1 with it; training diverges"),
        ({"with": [0.5, 0.5], "without": [0.1, 0.5]}, "ahead at 0 of 1 scales"),
        ({"with": [0.1, 0.3], "without": [0.9]}, "ahead at 1 of 1 scales"),
        ({"with": [], "without": [0.9]}, "diverges at 1 without it and at 1 with it"),
    ],
)
def test_what_is_found_about_one_scale(nets, text):
    assert text in experiment("weight_scales_mnist").finding({"epochs": 2, "scales": {"1": nets}})


# -- bn_vs_baseline ------------------------------------------------------------------------------------------


def test_batch_norm_converges_faster(quick):
    numbers = quick("bn_vs_baseline")
    bn, plain = numbers["with"], numbers["without"]
    assert next(i for i, a in enumerate(bn["training"]) if a >= max(plain["training"])) < 0.5 * len(plain["training"])
    assert sum(bn["loss"][-10:]) < 0.5 * sum(plain["loss"][-10:])
    assert bn["validation"][-1] > plain["validation"][-1]


def test_the_baseline_may_win(quick):
    module, numbers = experiment("bn_vs_baseline"), quick("bn_vs_baseline")
    assert "is reached with it after epoch" in module.finding(numbers)
    assert "is not reached with it; the last" in module.finding(swapped(numbers))


def test_networks_that_diverge_at_once_are_no_winners():
    module = experiment("bn_vs_baseline")
    none = {"loss": [2.3], "training": [], "validation": []}
    assert module.finding({"with": none, "without": none}).endswith("none (training diverged) without")
    assert "is not reached" in module.finding({"with": none, "without": none})
    module.plot({"with": none, "without": none})


# -- weight_scale_sweep --------------------------------------------------------------------------------------


def test_batch_norm_depends_less_on_the_scale(quick):
    scales = quick("weight_scale_sweep")["scales"].values()
    for part in ("validation", "training"):
        assert all(nets["with"][part] > nets["without"][part] for nets in scales)
    assert all(nets["with"]["loss"] < nets["without"]["loss"] for nets in scales)


def test_what_is_found_about_the_sweep_turns_around(quick):
    module, numbers = experiment("weight_scale_sweep"), quick("weight_scale_sweep")

    def figures(text):
        return [int(n) for n in re.findall(r"at (\d+)", text)]

    with_, without, ahead = figures(module.finding(numbers))
    assert with_ > without
    turned = {"scales": {scale: swapped(nets) for scale, nets in numbers["scales"].items()}}
    assert figures(module.finding(turned)) == [without, with_, len(turned["scales"]) - ahead]


def test_the_sweep_shows_a_network_that_diverged():
    lost = {"validation": 0.0, "training": 0.0, "loss": None}
    learnt = {"validation": 0.9, "training": 0.9, "loss": 0.1}
    module = experiment("weight_scale_sweep")
    numbers = {"scales": {"0.1": {"with": learnt, "without": lost}, "1": {"with": learnt, "without": lost}}}
    assert module.finding(numbers).endswith("at 2 of 2 scales with BatchNorm, at 0 without; BatchNorm is ahead at 2")
    module.plot(numbers).savefig(os.devnull, format="png")


# -- the commands --------------------------------------------------------------------------------------------


def started(out):
    """The quick run as a process, some of whose work is done."""
    process = subprocess.Popen(
        **command(SCALES, "--quick", "--out", out), stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    partial = out / "weight_scales_mnist.partial.json"
    while process.poll() is None and not partial.exists():
        time.sleep(0.01)
    assert partial.exists()
    return process, partial


def finished(out):
    """The same command again: its record."""
    done = subprocess.run(**command(SCALES, "--quick", "--out", out), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["weight_scales_mnist.json", "weight_scales_mnist.png"]
    return json.loads((out / "weight_scales_mnist.json").read_text(encoding="utf-8"))


def test_a_killed_run_goes_on_to_the_same_numbers(quick, tmp_path):
    process, partial = started(tmp_path)
    process.kill()
    process.communicate()
    done = json.loads(partial.read_text(encoding="utf-8"))["done"]
    numbers = finished(tmp_path)["numbers"]
    assert numbers == quick("weight_scales_mnist")
    assert 0 < len(done) < len(numbers["scales"])
    assert all(numbers["scales"][scale] == nets for scale, nets in done.items())


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to another process")
def test_ctrl_c_leaves_no_half_run_behind(quick, tmp_path):
    process, partial = started(tmp_path)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.endswith("weight_scales_mnist: stopped; the same command goes on where it was\n")
    whole = quick("weight_scales_mnist")
    done = json.loads(partial.read_text(encoding="utf-8"))["done"]
    assert all(whole["scales"][scale] == nets for scale, nets in done.items())


def test_what_was_done_with_another_seed_is_not_taken(quick, tmp_path):
    module = experiment("weight_scales_mnist")
    asked = {"name": "weight_scales_mnist", "data": "digits", "quick": "True", "seed": "1", "compile": "False"}
    wrong = {scale: {"with": [], "without": []} for scale in quick("weight_scales_mnist")["scales"]}
    partial = tmp_path / "weight_scales_mnist.partial.json"
    partial.write_text(json.dumps({"asked": asked, "done": wrong}), encoding="utf-8")
    settings = module.Settings("weight_scales_mnist", quick=True, out=tmp_path)
    assert settings.each({"1": 0}, lambda item: {"item": item}) == {"1": {"item": 0}}
    partial.write_text(json.dumps({"asked": {**asked, "seed": "0"}, "done": wrong}), encoding="utf-8")
    assert settings.each({"1": 0}, lambda item: {"item": item}) == {"1": wrong["1"]}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--data", "imagenet"], "invalid choice: 'imagenet'"),
        (["--seed", "many"], "'many' is no seed; give an integer of 0 or more"),
        (["--seed", "-1"], "'-1' is no seed; give an integer of 0 or more"),
        (["--data", "mnist"], "put train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz"),
        (
            ["--out", __file__],
            "test_weight_scales.py: cannot be written to (File exists); give another folder with --out",
        ),
    ],
)
def test_a_wrong_command_is_answered_in_a_line(tmp_path, arguments, text):
    if "--out" not in arguments:
        arguments = [*arguments, "--out", tmp_path]
    assert text in said(SCALES, *arguments, TINYGRAPH_DATA=str(tmp_path))


def test_the_folder_lists_its_experiments():
    """Every module that has one, with its claim; and a name that is none is answered with those that are."""
    done = subprocess.run(**command("examples.experiments", "--list"), capture_output=True)
    assert done.returncode == 0, done.stderr
    listed = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    files = {file.stem for file in (ROOT / "examples" / "experiments").glob("*.py")}
    assert set(listed) == files - {"__init__", "__main__", "common"}
    assert all(claim == experiment(name).EXPERIMENT.claim for name, claim in listed.items())
    assert all(re.search(r"seeds? 00\d", claim) for claim in listed.values())


class TestAll:
    """``python -m examples.experiments``, with experiments of the test's own."""

    @pytest.fixture
    def folder(self, monkeypatch, tmp_path):
        module, common = experiment("__main__"), experiment("common")
        ran = []

        def make(name, data, fails):
            def run(settings):
                ran.append((name, settings.data, settings.quick, settings.seed))
                if fails:
                    raise KeyboardInterrupt
                return {}

            return common.Experiment(
                name, f"{name}'s claim", run, lambda _: "found", lambda _: common.panels()[0], data
            )

        def main(*argv, stop=None):
            known = {
                name: make(name, data, name == stop)
                for name, data in {"a": common.DATA, "b": (), "c": ("digits",)}.items()
            }
            monkeypatch.setattr(module, "experiments", lambda: known)
            module.main([*argv, "--out", str(tmp_path)])
            return ran

        main.ran = ran
        return main

    def test_all_run_with_the_same_options(self, folder):
        assert folder("--quick", "--seed", "3") == [(name, "digits", True, 3) for name in "abc"]

    def test_those_that_are_named_run(self, folder):
        assert [name for name, *_ in folder("c", "a")] == ["c", "a"]

    def test_one_that_cannot_take_the_data_is_left_out_and_said_to_be(self, folder, capsys):
        assert [run[:2] for run in folder("--data", "mnist")] == [("a", "mnist"), ("b", "digits")]
        assert "c\nleft out: it takes digits, not mnist" in capsys.readouterr().out

    def test_ctrl_c_names_what_is_left(self, folder):
        with pytest.raises(SystemExit, match="with the names b c the same command goes on where it was"):
            folder(stop="b")
        assert [name for name, *_ in folder.ran] == ["a", "b"]

    def test_a_name_that_is_none(self, folder, capsys):
        with pytest.raises(SystemExit):
            folder("d")
        assert "there is no experiment 'd'; choose from a, b, c" in capsys.readouterr().err


def test_compiled_training_finds_the_same(quick, tmp_path, monkeypatch):
    # Accuracies by plain SGD: rounding errors do not show.
    monkeypatch.setattr("tinygraph.compiler.api._load", lambda backend: numpy_backend)
    module = experiment("weight_scales_mnist")
    compiled = module.main(module.EXPERIMENT, ["--quick", "--compile", "--out", str(tmp_path)])
    assert compiled == quick("weight_scales_mnist")
