"""The application that runs a model on pictures: at home, in a training container, on an Atlas board.

    sidecar.py       what a model file takes, says and comes from: MODEL.json beside it
    reading.py       picture files of any kind, size and polarity, as the network's training pictures were
    sessions.py      the one protocol of the run times, and which of them there is here
      ascend.py        AscendCL, for .om on a device
      onnx.py          onnxruntime, for .onnx
      framework.py     MindSpore, for checkpoints and .mindir
    classifying.py   batches, confidences, the five likeliest classes
    results.py       a text file a picture, a contact sheet
    testset.py       the same over a job's whole test set
    benchmark.py     how many pictures a second
    telling.py       JSON and errors as the launcher reads them

With `entrypoints/infer.py`, `jobs/__init__.py` and `jobs/pictures.py` this package is all that travels to a device. It
needs Python 3.7, numpy and Pillow there, and the device's own `acl`; nothing of it is imported before it is used.
"""
