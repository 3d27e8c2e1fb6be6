"""From a checkpoint to a device: what of that runs on the user's machine.

::

    exporting.py    a run's checkpoint -> a model file, by entrypoints/export.py in a process of its own
    convert.py      a model file -> .om, by ATC here or on a host (atc.py: its command and its errors)
    inferring.py    pictures -> classes, by entrypoints/infer.py
    deploy.py       application, model and pictures to a host, run there, results home
    remote.py       one host over ssh: the conversation with entrypoints/device_agent.py
    pipeline.py     train, export, verify, infer, report; each step once for the same inputs (report.py: the page)
    children.py     how a boot file is run and what it answers

The launcher itself never imports MindSpore, onnxruntime or a job's code.
"""
