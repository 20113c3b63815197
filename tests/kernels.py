"""Kernels for notebooks in tests."""

import contextlib

ATTEMPTS = 3


@contextlib.contextmanager
def kernel_of(client):
    """Run the kernel of a NotebookClient within the block.

    Jupyter chooses free ports for a kernel, and on a machine with others at work one of them may be taken before
    the kernel takes it: it dies then, and is started again.
    """
    with contextlib.ExitStack() as stack:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                stack.enter_context(client.setup_kernel())
                break
            except RuntimeError:  # "Kernel died before replying to kernel_info"
                if attempt == ATTEMPTS:
                    raise
                client.km = None
        yield client
