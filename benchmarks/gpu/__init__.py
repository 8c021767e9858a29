"""What `gpu_kernels.py` measures and how: the kernels through ctypes, their peers in PyTorch and Triton, the clock."""
