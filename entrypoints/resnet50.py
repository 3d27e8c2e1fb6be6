"""Boot file: train ResNet-50.

python entrypoints/resnet50.py --data_url=/path/to/cifar10
"""

import os
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # the project, whatever the working folder

from entrypoints.training import main
from jobs.resnet50 import JOB

if __name__ == "__main__":
    sys.exit(main(JOB))
