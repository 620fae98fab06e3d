"""Memory that is there when it is needed.

The kernel hands out memory page by page, and the host of a virtual machine takes back what has been free for some time; giving
it out again takes several times as long as writing to it. That is a lottery. So a process touches its memory before its time
starts, and malloc keeps it (GLIBC_TUNABLES).
"""

import os

import numpy as np


def touch():
    """Take as many bytes as the environment's TOUCH says, write to all of them, and give them back to malloc."""
    np.ones(int(os.environ.get("TOUCH", "0")), np.uint8)
