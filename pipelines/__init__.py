"""Raw files → prepared data sets: one package per source, and ``shared`` below them."""

from __future__ import annotations

import os

# Polars' allocator (jemalloc) gives memory back to the system within half a second and takes it again for
# the next rows of a file: page faults were a fifth of the processor time of MIMIC's preparation. Keeping
# it for some seconds costs less than a gigabyte at the peak. Read when polars is first imported.
os.environ.setdefault("_RJEM_MALLOC_CONF", "background_thread:true,dirty_decay_ms:5000,muzzy_decay_ms:-1")
