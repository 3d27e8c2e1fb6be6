"""Boot file: train LeNet-5.

python entrypoints/lenet5.py --data_url=/path/to/MNIST
"""

import os
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # the project, whatever the working folder

from entrypoints.training import main
from jobs.lenet5 import JOB

if __name__ == "__main__":
    sys.exit(main(JOB))
