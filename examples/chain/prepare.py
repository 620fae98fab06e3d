"""Put particles into the left well: prepare.py NUMBER FILE.npy"""

import sys

import numpy as np

num, file = int(sys.argv[1]), sys.argv[2]
np.save(file, np.random.default_rng(1).normal(-1, 0.05, num))
