"""Files: problems, results, and how they come to lie on the disk."""

from sepviz.files.arrays import digest, field, holds, names, read, read_meta, tensor, versions
from sepviz.files.disk import (
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
from sepviz.files.problems import load_meta, load_problem, read_mask, resolve_weights, save_problem
from sepviz.files.results import (
    Partial,
    Separation,
    check_finite,
    check_results,
    head_of,
    load_partial,
    load_separation,
    read_step,
    save_partial,
    save_separation,
    step_arrays,
)

__all__ = [
    "Partial", "Separation", "check_apart", "check_finite", "check_results", "check_target",
    "digest", "field", "free_name", "fresh_folder", "head_of", "holds", "load_meta",
    "load_partial", "load_problem", "load_separation", "lock", "names", "patiently", "read",
    "read_mask", "read_meta", "read_step", "resolve_weights", "save_partial", "save_problem",
    "save_separation", "step_arrays", "tensor", "to_json", "together", "versions", "write", "write_all",
]
