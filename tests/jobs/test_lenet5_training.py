"""What the fast training computes is what the recipe computes: to the bit, or on a CPU as nearly as float32 has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from jobs import JobError, State
from jobs.lenet5 import JOB, Parameters, data
from jobs.shared.pictures import order

HOUSE = Path(__file__).resolve().parents[2]


def bits(state: State) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in state.items()}


@pytest.fixture
def prepared(digits: Path, mindspore: Any) -> data.Mnist:
    return data.prepare(data.read(str(digits)))


@pytest.mark.parametrize("device", ["CPU", "Ascend"])
def test_the_training_is_the_recipe_step_by_step(prepared: data.Mnist, mindspore: Any, device: str) -> None:
    """Two epochs of MindSpore's own TrainOneStepCell, fed a batch at a time from Python, give the same weights."""
    from mindspore import nn

    from jobs.lenet5.network import LeNet5

    trainer = JOB.trainer(prepared, Parameters(), device)
    ours = [trainer.train(epoch, 0, 10) for epoch in range(2)]

    mindspore.set_seed(Parameters().seed)
    network = LeNet5()
    loss = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
    optimizer = nn.Momentum(network.trainable_params(), 0.01, 0.9)
    step = nn.TrainOneStepCell(nn.WithLossCell(network, loss), optimizer).set_train()
    images, labels = prepared.train
    for epoch in range(2):
        batches = order(len(labels), 32, Parameters().seed, epoch)
        losses = [step(mindspore.Tensor(images[b]), mindspore.Tensor(labels[b])).asnumpy() for b in batches]
        assert ours[epoch] == pytest.approx(float(np.sum(losses)), rel=1e-5)
    state = trainer.state()
    for parameter in network.get_parameters():
        theirs, found = parameter.asnumpy(), state[parameter.name]
        if device == "CPU":  # the sums are added in another order there
            np.testing.assert_allclose(found, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())
        else:
            assert found.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("batch", [1, 7, 32])
def test_the_loss_for_a_cpu_is_that_of_the_network_and_so_are_its_gradients(mindspore: Any, batch: int) -> None:
    """On pictures half of which is one grey, where all four pixels of a pooling are equal."""
    from mindspore import nn

    from jobs.lenet5.batchlast import BatchLastLoss
    from jobs.lenet5.network import LeNet5

    random = np.random.RandomState(batch)
    images = random.standard_normal((batch, 1, 32, 32)).astype(np.float32)
    images[:, :, :, 10:26] = 0.4
    given = mindspore.Tensor(images), mindspore.Tensor(random.randint(0, 10, batch).astype(np.int32))
    network = LeNet5()
    loss = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")

    def judged(cell: Any) -> Any:
        return mindspore.value_and_grad(cell, None, network.trainable_params())(*given)

    (ours, our_gradients), (theirs, their_gradients) = (
        judged(BatchLastLoss(network, loss)),
        judged(nn.WithLossCell(network, loss)),
    )
    assert float(ours.asnumpy()) == pytest.approx(float(theirs.asnumpy()), rel=1e-6)
    for one, other in zip(our_gradients, their_gradients, strict=True):
        largest = np.abs(other.asnumpy()).max()
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize("cuts", [[1, 10], [3, 4, 10], list(range(1, 11))])
def test_the_bits_do_not_depend_on_how_steps_are_cut_into_calls(prepared: data.Mnist, cuts: list[int]) -> None:
    whole = JOB.trainer(prepared, Parameters(), "CPU")
    whole.compile()
    whole.train(0, 0, 10)
    cut = JOB.trainer(prepared, Parameters(), "CPU")
    for first, stop in zip([0, *cuts], cuts, strict=False):
        cut.train(0, first, stop)
    assert bits(cut.state()) == bits(whole.state())


def test_compiling_changes_nothing(prepared: data.Mnist) -> None:
    for device in ("CPU", "Ascend"):
        trainer = JOB.trainer(prepared, Parameters(), device)
        before = bits(trainer.state())
        trainer.compile()
        assert bits(trainer.state()) == before


def test_a_restored_state_goes_on_to_the_bit(prepared: data.Mnist) -> None:
    first = JOB.trainer(prepared, Parameters(), "CPU")
    first.train(0, 0, 6)
    state = first.state()
    first.train(0, 6, 10)
    second = JOB.trainer(prepared, Parameters(seed=1, epochs=9), "CPU")
    second.restore(state)
    second.train(0, 6, 10)
    assert bits(second.state()) == bits(first.state())


def test_the_evaluation_counts_every_picture(prepared: data.Mnist, monkeypatch: pytest.MonkeyPatch) -> None:
    """45 test pictures are no multiple of any batch; how they are cut must not matter."""
    from jobs.lenet5 import train

    trainer = JOB.trainer(prepared, Parameters(), "CPU")
    trainer.train(0, 0, 10)
    whole = trainer.evaluate()
    monkeypatch.setattr(train, "EVALUATION_BATCH", 32)
    cut = trainer.evaluate()
    assert cut["accuracy"] == whole["accuracy"]
    assert cut["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    assert whole["accuracy"] * 45 == pytest.approx(round(whole["accuracy"] * 45))


def test_the_state_is_weights_moments_and_step(prepared: data.Mnist) -> None:
    names = set(JOB.trainer(prepared, Parameters(), "CPU").state())
    weights = {"conv1.weight", "conv2.weight"} | {f"fc{n}.{part}" for n in (1, 2, 3) for part in ("weight", "bias")}
    assert names == weights | {f"moments.{name}" for name in weights} | {"global_step"}


def test_job_yaml_and_the_code_have_the_same_defaults() -> None:
    spec = yaml.safe_load((HOUSE / "jobs/lenet5/job.yaml").read_text())
    settings = ("device_target", "keep_last", "checkpoint_minutes", "evaluate_every")
    own = {name: value for name, value in spec["parameters"].items() if name not in settings}
    assert own == vars(Parameters())


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": -1},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"momentum": 1.0},
        {"seed": -1},
        {"seed": 2**32},
    ],
)
def test_parameters_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(JobError, match=next(iter(wrong))):
        Parameters(**wrong)
