import numpy as np

np.ones(2**40, dtype=np.uint8)
