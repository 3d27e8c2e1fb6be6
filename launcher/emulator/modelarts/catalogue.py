"""What the emulated region has: flavors, engines and a dedicated pool.

Ids and names of flavors and engines as public job scripts and the OTC API reference have them; sizes and prices are
made up where no source has them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

ASCEND = "Ascend-Powered-Engine"
POOL = "pool-emulated0001"
"""The id of the one dedicated pool."""
POOL_FLAVORS = {f"modelarts.pool.visual.{size}xlarge": cards for size, cards in
                (("", 1), ("2", 2), ("4", 4), ("8", 8), ("16", 16))}  # fmt: skip
"""Flavors of a dedicated pool, and their cards."""


@dataclass(frozen=True)
class Flavor:
    """A kind of machine of the public pool."""

    id: str
    name: str
    kind: str
    """CPU, GPU or Ascend."""
    cores: int
    memory_gb: int
    cards: int = 0
    most: int = 1
    """How many nodes a job may have; 1 means no job of several nodes (`max_num`)."""

    def info(self) -> dict[str, Any]:
        """`flavor_info` of the flavors reply and of a job's `flavor_detail`."""
        arch = "x86" if self.kind != "Ascend" else "arm"
        found: dict[str, Any] = {"max_num": self.most, "cpu": {"arch": arch, "core_num": self.cores}}
        if self.kind == "Ascend":
            found["npu"] = {"unit_num": str(self.cards), "product_name": "snt9", "memory": "32GB"}
        if self.kind == "GPU":
            found["gpu"] = {"unit_num": self.cards, "product_name": "NVIDIA-V100", "memory": "32GB"}
        found["memory"] = {"size": self.memory_gb, "unit": "GB"}
        found["disk"] = {"size": 500 * max(1, self.cards), "unit": "GB"}
        return found

    def billing(self) -> dict[str, Any]:
        return {"code": self.id.removesuffix(".public"), "unit_num": max(1, self.cards)}


FLAVORS = (
    Flavor("modelarts.kat1.xlarge", "Ascend: 1*Ascend 910", "Ascend", 24, 96, 1, 4),
    Flavor("modelarts.kat1.2xlarge", "Ascend: 2*Ascend 910", "Ascend", 48, 192, 2, 1),
    Flavor("modelarts.kat1.4xlarge", "Ascend: 4*Ascend 910", "Ascend", 96, 384, 4, 1),
    Flavor("modelarts.kat1.8xlarge", "Ascend: 8*Ascend 910", "Ascend", 192, 720, 8, 16),
    Flavor("modelarts.p3.large.public", "GPU: 1*V100(32GB)", "GPU", 8, 64, 1, 8),
    Flavor("modelarts.vm.cpu.2u", "CPU: 2vCPUs 8GB", "CPU", 2, 8, 0, 8),
    Flavor("modelarts.vm.cpu.8u", "CPU: 8vCPUs 32GB", "CPU", 8, 32, 0, 8),
)


@dataclass(frozen=True)
class Engine:
    """A preset image."""

    id: str
    name: str
    v1_compatible: bool = False
    """Its jobs get the old contract: s3:// URLs, and copy by themselves."""
    run_user: str = "1000"
    flavors: tuple[str, ...] = ("Ascend",)
    discontinued: bool = False
    """A job with it is refused (ModelArts.2832), and it is not listed."""

    def echo(self) -> dict[str, Any]:
        """`algorithm.engine` of a job."""
        return {
            "engine_id": self.id,
            "engine_name": self.name,
            "engine_version": self.id,
            "usage": "training",
            "support_groups": "public",
            "v1_compatible": self.v1_compatible,
            "run_user": self.run_user,
        }


ENGINES = (
    Engine("mindspore_1.7.0-cann_5.1.0-py_3.7-euler_2.8.3-aarch64", ASCEND),
    Engine("mindspore_2.0.0-cann_6.3.0-py_3.7-euler_2.8.3-aarch64", ASCEND),
    Engine("mindspore_2.3.0-cann_8.0.rc1-py_3.9-euler_2.10.7-aarch64-snt9b", ASCEND),
    Engine("tensorflow_1.15-cann_5.1.0-py_3.7-euler_2.8.3-aarch64", ASCEND),
    Engine("pytorch_1.8.0-cuda_10.2-py_3.7-ubuntu_18.04-x86_64", "PyTorch", flavors=("CPU", "GPU"), run_user="1102"),
    Engine("MindSpore-1.3.0-c78-python3.7-euleros2.8-aarch64", ASCEND, v1_compatible=True),
    Engine("PyTorch-1.4.0-python3.6", "PyTorch", v1_compatible=True, flavors=("CPU", "GPU"), run_user="1102"),
    Engine("mindspore_1.6.0-cann_5.0.3.6-py_3.7-euler_2.8.3-aarch64", ASCEND, discontinued=True),
)


def flavors_reply(kind: str) -> dict[str, Any]:
    """`show_training_job_flavors`."""
    chosen = [flavor for flavor in FLAVORS if not kind or flavor.kind.lower() == kind.lower()]
    return {
        "total_count": len(chosen),
        "flavors": [
            {
                "flavor_id": flavor.id,
                "flavor_name": flavor.name,
                "flavor_type": flavor.kind,
                "max_num": flavor.most,
                "billing": flavor.billing(),
                "flavor_info": flavor.info(),
                "attributes": {"is_free": "false", "max_free_job_count": "0"},
                "support_engines": json.dumps(sorted({e.id for e in ENGINES if flavor.kind in e.flavors})),
                "support_groups": "public",
                "pool_id": "",
            }
            for flavor in chosen
        ],
    }


def engines_reply() -> dict[str, Any]:
    """`show_training_job_engines`."""
    items = [
        {
            "engine_id": engine.id,
            "engine_name": engine.name,
            "engine_version": engine.id,
            "v1_compatible": engine.v1_compatible,
            "run_user": engine.run_user,
            "tags": [],
            "image_info": {
                "cpu_image_url": "" if "CPU" not in engine.flavors else f"aip/{engine.id}:cpu",
                "gpu_image_url": f"aip/{engine.id}:train",
                "image_version": engine.id,
            },
        }
        for engine in ENGINES
        if not engine.discontinued
    ]
    return {"total": len(items), "items": items}


def pools_reply(workspace: str) -> dict[str, Any]:
    """`list_pools`: a `kind: PoolList` as Kubernetes has its lists."""
    pool = {
        "apiVersion": "v2",
        "kind": "Pool",
        "metadata": {
            "name": POOL,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"os.modelarts/name": "emulated", "os.modelarts/workspace.id": workspace or "0"},
            "annotations": {"os.modelarts/description": "a dedicated pool of the emulator"},
        },
        "spec": {
            "type": "Dedicate",
            "scope": ["Train"],
            "resources": [{"flavor": "modelarts.bm.910.arm.public.8", "count": 2, "maxCount": 2}],
        },
        "status": {"phase": "Running", "scope": [{"scopeType": "Train", "state": "Enabled"}]},
    }
    return {"apiVersion": "v2", "kind": "PoolList", "items": [pool]}
