"""ModelArts' side of the launcher: its API, its words, and what they mean for a run. Imported only when it is used.

::

    place.py      where runs go and as whom: region, endpoints, project, bucket, keys (from settings)
    client.py     the API: the official SDK's signing and calls, their holes closed; raw JSON
    request.py    a plan as the body of "create job"; flavors and engines by what job.yaml wants
    jobs.py       a job as a run: phases, times, exit codes; created at most once
    logs.py       a worker's log by lines (AOM), from the OBS object, or from the preview
    explain.py    error codes, exit codes and log tails as causes with a mending hint
    doctor.py     what can be checked before a byte is uploaded

`launcher.targets.modelarts` is the target that stands on them; `launcher.emulator.modelarts` the server to try it on.
"""
