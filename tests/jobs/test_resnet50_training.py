"""What the training computes is what the recipe computes, and can be taken up anywhere.

To the bit; or on a CPU, where sums are added in another order, as nearly as float32 has it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobs import BadLoss, Epoch, JobError, State, Trainer
from jobs.resnet50 import JOB, Parameters, data
from jobs.resnet50.schedule import rates

HOUSE = Path(__file__).resolve().parents[2]
TINY = Parameters(epochs=3, batch_size=16, network="small", image_size=8, warmup_epochs=1)
SETTINGS = ("device_target", "keep_last", "checkpoint_minutes", "evaluate_every")


def bits(state: State) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in state.items()}


@pytest.fixture
def cifar(photos: Path, mindspore: Any) -> data.Cifar10:
    return data.read(str(photos))


@pytest.fixture
def trainer(cifar: data.Cifar10) -> Trainer:
    return JOB.trainer(cifar, TINY, "CPU")


def references_rate(step: int, epochs: int, steps_per_epoch: int, init: float, most: float, warmup: int) -> float:
    """The formula that the references give, for one step, in Python's own arithmetic."""
    total, rising = epochs * steps_per_epoch, warmup * steps_per_epoch
    if step < rising:
        return init + (most - init) / rising * step
    left = 1.0 - (step - rising) / (total - rising)
    return max(most * left * left, 0.0)


@pytest.mark.parametrize(
    ("epochs", "steps", "init", "most", "warmup"),
    [
        (90, 1562, 0.01, 0.1, 5),
        (90, 195, 0.01, 0.1, 5),
        (10, 33, 0.0001, 0.4, 0),
        (5, 7, 0.01, 0.1, 5),
        (3, 1, 1, 2, 9),
    ],
)
def test_each_steps_rate_is_that_of_the_references(
    epochs: int, steps: int, init: float, most: float, warmup: int
) -> None:
    ours = rates(epochs, steps, init, most, warmup)
    theirs = [references_rate(step, epochs, steps, init, most, warmup) for step in range(epochs * steps)]
    assert ours.dtype == np.float32
    assert ours.tobytes() == np.array(theirs).astype(np.float32).tobytes()


@given(st.integers(1, 20), st.integers(1, 30), st.integers(0, 25), st.data())
def test_the_rates_from_any_step_on_are_the_rest_of_all_rates(epochs: int, steps: int, warmup: int, more: Any) -> None:
    first = more.draw(st.integers(0, epochs * steps))
    whole = rates(epochs, steps, warmup_epochs=warmup)
    assert rates(epochs, steps, warmup_epochs=warmup, first=first).tobytes() == whole[first:].tobytes()


@pytest.mark.parametrize(("name", "weights"), [("resnet50", 23_528_522), ("resnet101", 42_520_650), ("small", 509_594)])
def test_the_networks_have_the_sizes_that_are_known(mindspore: Any, name: str, weights: int) -> None:
    from jobs.resnet50.network import build

    network = build(name)
    assert sum(parameter.size for parameter in network.trainable_params()) == weights
    names = {parameter.name for parameter in network.get_parameters()}
    assert {"conv1.weight", "layer1.0.bn3.gamma", "layer4.0.down_sample_layer.1.moving_mean", "end_point.bias"} <= names


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer_nums": [1, 1, 1]}, "4 each"),
        ({"in_channels": [16, 64, 128, 256, 512]}, "4 each"),
        ({"out_channels": [64]}, "4 each"),
        ({"strides": []}, "4 each"),
        ({"in_channels": [16, 64, 128, 512]}, "do not go on"),
        ({"out_channels": [64, 128, 256, 510]}, "no multiples of 4"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(mindspore: Any, change: dict[str, Any], words: str) -> None:
    from jobs.resnet50.network import ResNet

    shape = {"layer_nums": [1] * 4, "in_channels": [16, 64, 128, 256], "out_channels": [64, 128, 256, 512]}
    with pytest.raises(ValueError, match=words):
        ResNet(**{**shape, "strides": [1, 2, 2, 2], **change})


@pytest.mark.parametrize("device", ["CPU", "Ascend"])
def test_a_run_is_the_recipe_step_by_step(cifar: data.Cifar10, mindspore: Any, device: str) -> None:
    """MindSpore's own TrainOneStepCell with the settings of the references, fed by hand, gives the same weights."""
    from mindspore import nn

    from jobs.resnet50.network import build
    from jobs.shared.pictures import order

    trainer = JOB.trainer(cifar, replace(TINY, precision="float32", feed="direct"), device)
    trainer.compile()
    ours = [trainer.train(epoch, 0, 5) for epoch in range(2)]
    state = trainer.state()

    mindspore.set_seed(TINY.seed)
    network = build("small")
    rate = mindspore.Tensor(rates(3, 5, warmup_epochs=1))
    optimizer = nn.Momentum(network.trainable_params(), rate, 0.9, weight_decay=1e-4, loss_scale=1024.0)
    loss = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
    step = nn.TrainOneStepCell(nn.WithLossCell(network, loss), optimizer, sens=1024.0).set_train()
    images, labels = cifar.train
    for epoch in range(2):
        rows, draws = order(90, 16, TINY.seed, epoch), data.draw(90, TINY.seed, epoch)
        total = 0.0
        for number, batch in enumerate(rows):
            part = data.Draws(*(each[number * 16 : number * 16 + 16] for each in draws))
            pictures = data.prepare(data.augment(images[batch], part), 8)
            total += float(step(mindspore.Tensor(pictures), mindspore.Tensor(labels[batch])).asnumpy())
        assert ours[epoch] == (pytest.approx(total, rel=1e-4) if device == "CPU" else total)
    for parameter in network.get_parameters():
        theirs, found = parameter.asnumpy(), state[parameter.name]
        if device == "CPU":
            np.testing.assert_allclose(found, theirs, rtol=0, atol=5e-2 * np.abs(theirs).max(), err_msg=parameter.name)
        else:
            assert found.tobytes() == theirs.tobytes()


@pytest.mark.parametrize(("size", "largest"), [(15, 28), (32, 4)])
def test_the_loss_for_a_cpu_is_that_of_the_network_and_so_are_its_gradients(
    mindspore: Any, monkeypatch: pytest.MonkeyPatch, size: int, largest: int
) -> None:
    """Also in what the batch norms remember; with stages before it that stay as they are, and sides that are odd."""
    from mindspore import nn

    from jobs.resnet50 import batchlast
    from jobs.resnet50.network import ResNet

    monkeypatch.setattr(batchlast, "LARGEST", largest)
    random = np.random.RandomState(size)
    images = mindspore.Tensor(random.standard_normal((4, 3, size, size)).astype(np.float32))
    labels = mindspore.Tensor(random.randint(0, 10, 4).astype(np.int32))
    loss = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
    found = []
    for ours in (True, False):
        mindspore.set_seed(1)
        network = ResNet([2, 1, 1, 1], [16, 32, 32, 32], [32, 32, 32, 32], [1, 2, 2, 2]).set_train()
        for name, parameter in network.parameters_and_names():
            if name.endswith("bn3.gamma"):  # it begins with zeros, and then what is before it has no gradients
                parameter.set_data(mindspore.Tensor(np.ones(parameter.shape, np.float32)))
        names = [parameter.name for parameter in network.get_parameters()]
        cell = batchlast.BatchLastLoss(network, loss, size) if ours else nn.WithLossCell(network, loss)
        value, gradients = mindspore.value_and_grad(cell, None, network.trainable_params())(images, labels)
        assert [parameter.name for parameter in network.get_parameters()] == names
        moving = {p.name: p.asnumpy() for p in network.get_parameters() if "moving" in p.name}
        named = {p.name: each.asnumpy() for p, each in zip(network.trainable_params(), gradients, strict=True)}
        found.append({"loss": value.asnumpy(), **moving, **named})
    for name, theirs in found[1].items():
        np.testing.assert_allclose(found[0][name], theirs, rtol=0, atol=1e-3 * np.abs(theirs).max(), err_msg=name)


def test_a_state_that_another_trainer_restores_goes_on_to_the_bit(cifar: data.Cifar10, trainer: Trainer) -> None:
    """In the middle of an epoch; the loss too is summed as if nothing had been."""
    before = bits(trainer.state())
    trainer.compile()
    assert bits(trainer.state()) == before, "compiling changes nothing"
    part = trainer.train(0, 0, 3)
    state = trainer.state()
    assert {"bn1.moving_mean", "layer4.0.bn3.moving_variance", "moments.conv1.weight", "global_step"} <= set(state)
    assert "learning_rate" not in state
    whole = trainer.train(0, 3, 5, part)

    other = JOB.trainer(cifar, TINY, "CPU")
    other.train(0, 0, 1)
    other.restore(state)
    assert other.train(0, 4, 5, other.train(0, 3, 4, part)) == whole
    assert bits(other.state()) == bits(trainer.state())
    evaluation = trainer.evaluate()
    assert other.evaluate() == evaluation
    assert evaluation["accuracy"] * 23 == pytest.approx(round(evaluation["accuracy"] * 23))


def test_the_evaluation_counts_every_picture_and_can_be_stopped(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs.resnet50 import train

    whole = trainer.evaluate()
    monkeypatch.setattr(train, "EVALUATION_PIXELS", 1)
    cut = trainer.evaluate()
    assert cut["accuracy"] == whole["accuracy"]
    assert cut["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    assert trainer.evaluate(lambda: True) == {}


def test_a_loss_that_is_no_number_names_its_step(cifar: data.Cifar10) -> None:
    trainer = JOB.trainer(
        cifar, Parameters(epochs=3, batch_size=16, network="small", image_size=8, lr_init=1e30), "CPU"
    )
    with pytest.raises(BadLoss) as caught:
        trainer.train(0, 0, 5)
    assert caught.value.step == 2
    assert not math.isfinite(caught.value.loss)


def test_the_lines_that_scripts_look_for(trainer: Trainer) -> None:
    lines = trainer.epoch_lines(Epoch(90, 1562, 27.328994035720825, 1829.0))
    assert lines[0] == (
        "epoch 90 cost time = 27.328994035720825, train step num: 1562, one step time: 17.496154952446112 ms, "
        "train samples per second of cluster: 1829.0"
    )
    assert lines[1].startswith("epoch: 90 step 5, loss is ")
    assert trainer.evaluation_lines({"accuracy": 0.9467, "loss": 1.0}) == ["Evaluation result: {'acc': 0.9467}."]


def test_a_step_in_mixed_precision_keeps_the_names_and_types_of_the_state(trainer: Any, mindspore: Any) -> None:
    """As it is on an Ascend, where it could not be tried; here the CPU computes it."""
    before = {name: (array.shape, array.dtype) for name, array in trainer.state().items()}
    step = trainer._build_step(mixed=True)
    images, labels = trainer._batches.get(0, 0)
    loss = step(mindspore.Tensor(images), mindspore.Tensor(labels))
    assert math.isfinite(float(loss.asnumpy()))
    assert {name: (array.shape, array.dtype) for name, array in trainer.state().items()} == before


def test_a_queue_on_the_device_gives_the_same_steps(
    cifar: data.Cifar10, trainer: Any, mindspore: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU has no such queue, so a stand-in feeds the step from the data set that the device would read."""
    opened = []

    def data_sink(step: Any, source: Any) -> Any:
        opened.append(source)
        rows = source.create_tuple_iterator(num_epochs=1)
        return lambda: step(*next(rows))

    monkeypatch.setattr(mindspore, "data_sink", data_sink)
    sunk: Any = JOB.trainer(cifar, TINY, "CPU")
    sunk._sunk = True
    total = [trainer.train(epoch, 0, 5) for epoch in range(2)]
    assert [sunk.train(epoch, 0, 5) for epoch in range(2)] == total
    assert len(opened) == 1
    sunk.restore(trainer.state())
    trainer.train(2, 0, 2)
    sunk.train(2, 0, 2)
    assert bits(sunk.state()) == bits(trainer.state())


def test_a_queue_that_does_not_work_is_left_for_the_direct_way(trainer: Any) -> None:
    """On a CPU it does not: MindSpore says so."""
    before = bits(trainer.state())
    trainer._sunk = True
    trainer.compile()
    assert bits(trainer.state()) == before
    assert "feed is direct" in trainer.advice()[0]
    assert "Data sinking supports ascend or gpu" in trainer.advice()[0]
    trainer.train(0, 0, 1)


@pytest.mark.parametrize("wish", [{"precision": "mixed"}, {"feed": "sink"}])
def test_what_a_cpu_does_not_have_is_refused(cifar: data.Cifar10, wish: dict[str, Any]) -> None:
    with pytest.raises(JobError, match="a CPU does not have"):
        JOB.trainer(cifar, Parameters(batch_size=16, **wish), "CPU")


def test_job_yaml_and_the_code_have_the_same_defaults() -> None:
    spec = yaml.safe_load((HOUSE / "jobs/resnet50/job.yaml").read_text())
    assert {name: value for name, value in spec["parameters"].items() if name not in SETTINGS} == vars(Parameters())


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"network": "resnet18"},
        {"image_size": 7},
        {"image_size": 2000},
        {"lr_init": -0.1},
        {"lr_max": math.nan},
        {"warmup_epochs": -1},
        {"momentum": 1.0},
        {"weight_decay": 1.0},
        {"loss_scale": 0.0},
        {"precision": "half"},
        {"feed": "pipe"},
        {"seed": -1},
    ],
)
def test_parameters_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(JobError, match=next(iter(wrong))) as caught:
        Parameters(**wrong)
    assert "--" + next(iter(wrong)) in caught.value.hint
