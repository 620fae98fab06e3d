"""Sources and results: HDF5, .npy and generated data; the only package that imports h5py."""
