"""ModelArts' side of the launcher: its API, its words, and what they mean for a run. Imported only when it is used.

::

    place.py      where runs go and as whom: region, endpoints, project, bucket, keys (from settings)
    wire.py       signed requests through the official SDK's core, its holes closed
    client.py     the API's calls; raw JSON, checked
    tls.py        whom requests trust
    request.py    a plan as the body of "create job"; flavors and engines by what job.yaml wants
    jobs.py       a job as a run: phases, times, exit codes; created at most once
    keeper.py     the ledger kept in step with the jobs there are
    logs.py       a worker's log by lines (AOM), from the OBS object, or from the preview
    following.py  what a person hears meanwhile, and what `show` adds
    wheel.py      submitting through Huawei's own wheel, where it is installed
    regions.py    the regions' ids and endpoints
    explain.py    error codes, exit codes and log tails as causes with a mending hint
    causes.py     why a run failed: the table behind explain.cause_of
    bucket.py     the doctor's checks of bucket and data
    doctor.py     what can be checked before a byte is uploaded

`launcher.targets.modelarts` is the target that stands on them; `launcher.emulator.modelarts` the server to try it on.
"""
