import os
import tempfile

import torch
from hypothesis import HealthCheck, settings

from nas.devices import HalfPrecision
from nas.files import write_json
from nas.self_test import SelfTest, kept_file, machine

# The networks of the tests are tiny: threads that wait for each other only make them slower. The
# processes that tests start get as many, since sums over other numbers of threads round otherwise.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

# No test measures this machine, or changes what its user keeps.
_cache = tempfile.TemporaryDirectory(prefix="nas-tests-")
os.environ["XDG_CACHE_HOME"] = _cache.name
write_json(kept_file(), {machine(): SelfTest(HalfPrecision(), 1, {}).to_json()})

settings.register_profile(
    "project",
    derandomize=True,  # the same examples on every machine: a red test is red for everybody
    database=None,
    deadline=None,  # a busy machine is no defect of the code
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=30,
)
settings.load_profile("project")
