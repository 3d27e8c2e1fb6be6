"""What an error code means, and why a run failed: told in plain words, with what mends it."""

from __future__ import annotations

import re
import shlex
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.modelarts import causes
from launcher.modelarts.explain import CODES, STATUSES, cause_of, explain, hint_for

_NUMBERS = """
0010 0108 0112 0118 0206 0210 2751 2753 2755 2757 2758 2759 2760 2761 2763 2764 2767 2775 2776 2777 2780 2781
2782 2783 2784 2785 2786 2787 2788 2789 2790 2791 2792 2793 2796 2799 2802 2803 2806 2807 2808 2809 2810 2811
2812 2813 2815 2816 2818 2819 2820 2822 2825 2832 2833 2836 2837 2839 2840 2841 2842 2845 2855 2857 2858 2859
2878 2879 2880 2881 2883 2884 2885 2886 2887 2889 2890 50004000 0201 0212 0420 0431 6301 6327
"""
FACTS = _NUMBERS.split()


@pytest.mark.parametrize("number", FACTS)
def test_every_code_of_the_reference_has_a_meaning_of_its_own(number):
    what, hint = explain(400, f"ModelArts.{number}")
    assert "with code" not in what and what and hint and "\n" not in hint


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (403, "ModelArts.2785", "添加授权"),
        (401, "APIGW.0301", "doctor --target modelarts"),
        (403, "ModelArts.0210", "API Credentials (API凭证)"),
        (403, "ModelArts.0206", "Access Keys (访问密钥)"),
        (401, "ModelArts.0203", "token"),
        (400, "ModelArts.2837", "费用中心"),
        (400, "ModelArts.2815", "我的配额"),
        (404, "ModelArts.2890", "专属资源池"),
        (400, "ModelArts.2832", "doctor --target modelarts --job JOB"),
        (429, "", "wait a minute"),
        (503, "", "nothing is doubled"),
        (403, "", "Identity and Access Management"),
        (400, "ModelArts.9999", "doctor"),
        (418, "Teapot.1", "doctor"),
        (0, "", "doctor"),
        (302, "", "proxy"),
    ],
)
def test_the_hint_names_the_command_or_the_page(status, code, said):
    assert said in hint_for(status, code)


def test_commands_in_hints_are_commands_of_ours():
    """Every ``python -m launcher VERB`` in a hint is a verb there is, or one of the ModelArts target's."""
    from launcher.cli import VERBS

    known = {*VERBS, "doctor", "config", "resubmit", "adopt"}
    hints = [row[1] for row in [*CODES.values(), *STATUSES.values()]] + [rule.hint for rule in causes.RULES]
    hints += [row[2] for row in causes.EXIT_CODES.values()]
    for hint in hints:
        for found in re.findall(r"python -m launcher ([a-z]+)", hint):
            assert found in known, hint


TAILS = {
    "html-boot-file": """
  File "/home/ma-user/modelarts/user-job-dir/code/train.py", line 1
    <!DOCTYPE html>
    ^
SyntaxError: invalid syntax
[Modelarts Service Log]Training end with return code: 1
""",
    "disk-full": """
epoch: 3 step: 1875, loss is 0.0312
Traceback (most recent call last):
  File "train.py", line 88, in <module>
    save_checkpoint(net, path)
OSError: [Errno 28] No space left on device: '/home/ma-user/out/lenet-3_1875.ckpt'
""",
    "unrecognized-arguments": """
usage: train.py [-h] [--epochs EPOCHS]
train.py: error: unrecognized arguments: --data_url=/home/ma-user/modelarts/inputs/data_url_0
[Modelarts Service Log]Training end with return code: 2
""",
    "obs-forbidden": """
INFO:root:Using MoXing-v2.1.0.5d9c87c8-5d9c87c8
ERROR:root:Failed to call:
        func=<bound method ObsClient.getObjectMetadata of <moxing.framework.file.src.obs.client.ObsClient object>>
  stat:403
  errorCode:AccessDenied
  errorMessage:Access Denied
""",
    "no-data": """
[ModelArts Service Log][init] input (parameter name: data_url) downloading.
NoSuchBucket: The specified bucket does not exist
""",
    "not-a-folder": """
    for name in os.listdir(path):
NotADirectoryError: [Errno 20] Not a directory: '/cache/data_url/112.jpg'
""",
    "wrong-data-url": """
    dataset = ds.MnistDataset(os.path.join(args.data_url, "train"))
FileNotFoundError: [Errno 2] No such file or directory: '/home/ma-user/modelarts/inputs/data_url_0/train'
""",
    "obs-as-path": """
    with open(os.path.join(args.data_url, "train.csv")) as stream:
FileNotFoundError: [Errno 2] No such file or directory: 's3:/my-bucket/data/train.csv'
""",
    "hccl-timeout": """
[ERROR] HCCL(1234,python):2026-11-25-10:22:01 [topoinfo_exchange_base.cc:123] connection timeout: timeout[120 s]
EI0006: Getting socket times out. Reason: Remote Rank did not send the data in time.
        Solution: Please ensure that HCCL_CONNECT_TIMEOUT is long enough.
RuntimeError: Ascend collective communication initialization failed.
""",
    "device-out-of-memory": """
[ERROR] DEVICE(88,python3.9):[mindspore/ccsrc/runtime/mem.cc:141] Malloc device memory failed, size[2147483648]
RuntimeError: Device(id:0) memory isn't enough and alloc failed, kernel name: Conv2D-op12
""",
    "out-of-memory": """
2026-11-25 10:00:00 worker-0 OOMKilled
""",
    "device-occupied": """
RuntimeError: Call rtSetDevice failed, ret[507033]. Device is occupied, please check whether another process uses it.
""",
    "pip-offline": """
WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'NewConnectionError(...: Failed to establish
 a new connection: [Errno 101] Network is unreachable)': /simple/einops/
ERROR: Could not find a version that satisfies the requirement einops (from versions: none)
""",
    "moxing-missing": """
    import moxing as mox
ModuleNotFoundError: No module named 'moxing'
""",
    "no-module": """
    import einops
ModuleNotFoundError: No module named 'einops'
""",
    "permission": """
    os.makedirs("/data/out")
PermissionError: [Errno 13] Permission denied: '/data'
""",
    "copy-broken": """
    mox.file.copy_parallel("/cache/out", args.train_url)
BrokenPipeError: [Errno 32] Broken pipe
""",
    "graph-compile": """
EZ3002: 2026-11-25-10:11:12 Optype [NonMaxSuppression] of Ops kernel [AIcoreEngine] is unsupported.
RuntimeError: Compile graph kernel_graph0 failed.
""",
    "not-a-number": """
epoch: 1 step: 200, loss is nan
ValueError: the loss is not finite
""",
    "syntax": """
    match phase:
          ^
SyntaxError: invalid syntax
""",
    "exception": """
    return table[index]
IndexError: list index out of range
""",
    "rank-ended": """
epoch 3/90 step 120 loss 0.8043
[ModelArts Service Log]... proc-rank-3-device-3 (pid: 130) has exited
""",
}


@pytest.mark.parametrize("kind", TAILS)
def test_a_tail_of_a_log_tells_the_cause_with_the_line_that_shows_it(kind):
    first, *_ = cause_of(None, [], TAILS[kind], 1)
    assert first.kind == kind
    assert first.evidence and first.evidence.split("…")[0] in TAILS[kind]
    assert first.hint and "\n" not in first.hint and "{" not in first.what


def job(phase: str, code: int | None = None, **status: object) -> dict[str, object]:
    tasks = [] if code is None else [{"task": "worker-0", "exit_code": code, "message": ""}]
    return {"metadata": {"id": "x"}, "status": {"phase": phase, "task_statuses": tasks, **status}}


@pytest.mark.parametrize(
    ("code", "kind"),
    [(137, "out-of-memory"), (247, "out-of-memory"), (-9, "out-of-memory"), (139, "segfault"), (-11, "segfault"),
     (143, "terminated"), (127, "no-command"), (2, "usage"), (9, "unexplained")],
)  # fmt: skip
def test_an_exit_code_alone_tells_something(code, kind):
    (cause,) = cause_of(job("Failed", code), [], "epoch: 1 step: 7, loss is 2.3\n", None)
    assert cause.kind == kind and cause.evidence == f"exit code {code}"


def test_what_the_log_says_better_is_not_said_twice():
    assert [c.kind for c in cause_of(None, [], TAILS["device-out-of-memory"], 137)] == ["device-out-of-memory"]
    assert [c.kind for c in cause_of(None, [], TAILS["unrecognized-arguments"], 2)] == ["unrecognized-arguments"]
    assert [c.kind for c in cause_of(None, [], TAILS["no-module"], 1)] == ["no-module"]


def test_the_first_worker_that_failed_and_the_events_count():
    tasks = [{"task": "worker-0", "exit_code": 0}, {"task": "worker-1", "exit_code": 139}]
    events = [{"time": "2026-11-25T10:00:00+08:00", "level": "Warning", "message": "Pod evicted: DiskPressure"}]
    found = cause_of({"status": {"phase": "Failed", "task_statuses": tasks}}, events, "", None)
    assert [cause.kind for cause in found] == ["evicted", "segfault"]
    assert found[0].evidence == "Pod evicted: DiskPressure"


def test_a_job_that_never_came_up():
    (cause,) = cause_of(job("Abnormal", secondary_phase="CreateFailed"), [], "", None)
    assert (cause.kind, cause.evidence) == ("not-created", "CreateFailed")


USUAL = """
[ModelArts Service Log]2026-11-25 10:00:01,001 - INFO - start the periodic upload task, upload period = 5 seconds
HCCL_CONNECT_TIMEOUT=1800 HCCL_EXEC_TIMEOUT=1800 MA_PIP_URL=http://pip.modelarts.private.com:8888/repository/pypi/simple
Looking in indexes: http://pip.modelarts.private.com:8888/repository/pypi/simple
Requirement already satisfied: pip in /home/ma-user/anaconda3/lib/python3.7/site-packages (21.0.1)
INFO:root:Using MoXing-v2.1.0.5d9c87c8-5d9c87c8
INFO:root:Using OBS-Python-SDK-3.20.9.1
[WARNING] ME(151:281473,MainProcess):2026-11-25-10:00:07 [mindspore/context.py:403] device memory limit is 30GB
args: Namespace(batch_size=32, data_url='/home/ma-user/modelarts/inputs/data_url_0', loss_scale=1024, retry=3)
epoch: 1 step: 403, loss is 0.4031
epoch: 1 step: 1875, loss is 0.1201
epoch time: 12345.67 ms, per step time: 6.58 ms
{'accuracy': 0.9403, 'status': 'ok', 'info': 'no nan was found', 'infer': 'loss'}
"""


def test_a_usual_log_is_blamed_for_nothing():
    (cause,) = cause_of(None, [{"message": "[worker-0] Training finished. Exit code 7."}], USUAL, 7)
    assert cause.kind == "unexplained"


@pytest.mark.parametrize("phase", ["Completed", "Terminated"])
def test_a_run_that_did_not_fail_has_no_cause(phase):
    assert cause_of(job(phase, 0), [], TAILS["exception"], None) == []
    assert cause_of(None, [], "", 0) == []


def test_odd_answers_and_long_lines_do_no_harm():
    started = time.monotonic()
    odd = {"status": {"phase": None, "task_statuses": [{"task": "worker-0"}]}}
    assert cause_of(odd, [{"level": "Info"}], "x" * 5_000_000 + "\n" + "obs " * 500_000, 1)[0].kind == "unexplained"
    many = "".join(f"epoch {n} pip device hccl obs out {'a' * 200}\n" for n in range(2000))
    assert cause_of(odd, [], many, None) == []
    assert time.monotonic() - started < 20
    assert len(cause_of(None, [], "\n".join(TAILS.values()), 137)) == causes.MOST


PIECES = st.sampled_from(
    [*"\n 403:/'\"", "obs", "Error", "hccl", "timeout", "loss is nan", "pip", "\x00", "手"]
) | st.text(max_size=9)
STATUS = st.fixed_dictionaries(
    {},
    optional={
        "phase": st.sampled_from(["Failed", "Abnormal", "Running", "", None]),
        "task_statuses": st.none() | st.lists(st.fixed_dictionaries({"exit_code": st.none() | st.integers(-64, 300)})),
    },
)


@given(st.lists(PIECES).map("".join), STATUS, st.none() | st.integers(-64, 300))
def test_whatever_a_log_holds_causes_are_few_and_shown_by_a_line(log, status, code):
    causes_found = cause_of({"status": status}, [], log, code)
    assert len(causes_found) <= causes.MOST
    for cause in causes_found:
        assert cause.evidence and "\n" not in cause.hint
        assert cause.evidence.rstrip("…") in log or cause.evidence.startswith(("exit code", "Abnormal"))


def test_a_cause_is_json():
    (cause,) = cause_of(None, [], TAILS["no-module"], 1)
    assert cause.to_json() == {
        "kind": "no-module",
        "what": "the image has no Python module einops",
        "evidence": "ModuleNotFoundError: No module named 'einops'",
        "hint": cause.hint,
    }
    assert shlex.split("python -m launcher logs")  # hints are shell words
