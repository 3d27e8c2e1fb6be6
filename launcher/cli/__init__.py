"""The verbs, one small module each, imported only when its verb is called."""

from __future__ import annotations

VERBS = {
    "submit": "run a job: upload, start, follow, bring the results home",
    "runs": "list the runs",
    "show": "everything that is known of one run",
    "logs": "print or follow a run's log",
    "wait": "wait for runs to end, and end as they did",
    "stop": "stop runs; each may save a last checkpoint",
    "pull": "bring a run's output home",
    "resubmit": "run the code and data of an earlier run again, with other parameters",
    "adopt": "make a job that was started elsewhere a run",
    "delete": "forget runs and remove what they left",
    "data": "prepare, check, preview and list data sets",
    "storage": "list, copy, synchronise and remove objects in buckets, here or in OBS",
    "doctor": "look at everything a run needs, before a byte is sent",
    "config": "show and write settings: accounts, regions, buckets",
    "emulator": "ModelArts' API on this machine, with jobs that really run: no account needed",
    "export": "make a model file (ONNX, MindIR, AIR) of a run's checkpoint",
    "convert": "compile a model for an Ascend with ATC, here or on a host",
    "infer": "run a model on pictures",
    "deploy": "bring a run's model to a device and run it there",
    "pipeline": "train, export, verify, infer and report, each step once",
    "completion": "print the shell's completion script",
}
"""Verb -> the line that ``--help`` shows; the verb's code is ``launcher.cli.VERB``."""
