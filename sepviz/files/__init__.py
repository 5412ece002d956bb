"""Files: problems, results, and how they come to lie on the disk."""

from sepviz.files.arrays import (
    Field,
    digest,
    facts,
    fingerprint,
    medium_of,
    naming,
    open_file,
    read,
    read_meta,
    tensors,
    versions,
)
from sepviz.files.disk import (
    Taken,
    check_apart,
    check_target,
    free_name,
    fresh_folder,
    lock,
    patiently,
    to_json,
    together,
    write,
    write_all,
)
from sepviz.files.problems import load_meta, load_problem, read_mask, save_problem
from sepviz.files.results import (
    Partial,
    Separation,
    check_finite,
    head_of,
    load_partial,
    load_separation,
    read_step,
    result_table,
    save_partial,
    save_separation,
    step_arrays,
)

__all__ = [
    "Field", "Partial", "Separation", "Taken", "check_apart", "check_finite", "check_target",
    "digest", "facts", "fingerprint", "free_name", "fresh_folder", "head_of", "load_meta",
    "load_partial", "load_problem", "load_separation", "lock", "medium_of", "naming",
    "open_file", "patiently", "read", "read_mask", "read_meta", "read_step", "result_table",
    "save_partial", "save_problem", "save_separation", "step_arrays", "tensors", "to_json",
    "together", "versions", "write", "write_all",
]
