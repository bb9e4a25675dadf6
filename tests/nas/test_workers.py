import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import SettingsError
from nas.workers import GPUS, TRAINING_MEMORY, Place, Slots, plan, usable_cores

MEMORY = st.lists(st.integers(0, 100 * 2**30), min_size=1, max_size=9)
CORES = st.integers(1, 128)


@given(cores=CORES, data=st.data())
def test_a_cpu_is_shared_equally_and_never_twice(cores: int, data: st.DataObject) -> None:
    wish = data.draw(st.integers(1, cores))
    slots = plan(wish, "cpu", (), cores)
    assert slots.devices == ("cpu",) * wish
    assert slots.threads >= 1
    assert cores - wish < slots.threads * wish <= cores


@given(cores=CORES, more=st.integers(1, 99))
def test_more_workers_than_cores_are_refused(cores: int, more: int) -> None:
    with pytest.raises(SettingsError, match=rf"--workers must be .* but is {cores + more}; lower"):
        plan(cores + more, "cpu", (), cores)


@given(cores=CORES, device=st.sampled_from(["cpu", "mps"]))
def test_one_worker_has_all_cores(cores: int, device: str) -> None:
    assert plan(None, device, (), cores) == plan(1, device, (), cores) == Slots((device,), cores)


@given(free=MEMORY, cores=CORES, memory=st.integers(1, 50 * 2**30))
def test_gpus_hold_as_many_as_fit(free: list[int], cores: int, memory: int) -> None:
    slots = plan(None, "cuda", free, cores, memory=memory)
    counts = [slots.devices.count(f"cuda:{gpu}") for gpu in range(len(free))]
    assert sum(counts) == len(slots.devices) == max(1, min(cores, sum(f // memory for f in free)))
    if any(have >= memory for have in free):
        assert all(count * memory <= have for count, have in zip(counts, free, strict=True))
    else:
        assert slots.devices == (f"cuda:{free.index(max(free))}",)
    # A GPU has fewer than another only because no more fit, or by one at the end of a round.
    for count, have in zip(counts, free, strict=True):
        assert count == have // memory or count >= max(counts) - 1
    assert slots.threads == max(1, cores // len(slots.devices))


@given(free=MEMORY, cores=CORES, wish=st.integers(1, 200))
def test_a_wish_goes_round_the_gpus(free: list[int], cores: int, wish: int) -> None:
    slots = plan(wish, "cuda", free, cores)
    assert slots.devices == tuple(f"cuda:{n % len(free)}" for n in range(wish))
    assert slots.threads == max(1, cores // wish)


@given(free=MEMORY, cores=CORES, wish=st.none() | st.integers(1, 20), data=st.data())
def test_one_gpu_can_be_named(
    free: list[int], cores: int, wish: int | None, data: st.DataObject
) -> None:
    chosen = data.draw(st.integers(0, len(free) - 1))
    slots = plan(wish, f"cuda:{chosen}", free, cores)
    assert set(slots.devices) == {f"cuda:{chosen}"}
    most = max(1, min(cores, free[chosen] // TRAINING_MEMORY))
    assert len(slots.devices) == (most if wish is None else wish)


def test_first_jobs_are_spread_over_the_gpus() -> None:
    assert plan(None, "cuda", [8 * 2**30, 12 * 2**30], 16) == Slots(
        ("cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:1"), 3
    )


@pytest.mark.parametrize(
    ("wish", "device", "words"),
    [
        (0, "cpu", "--workers must be at least 1, but is 0; raise it"),
        (-1, "cuda", "--workers must be at least 1, but is -1; raise it"),
        (5, "cpu", "at most the 4 cores that are here, but is 5; lower it"),
        (2, "mps", "at most the 1 MPS device that is here, but is 2; lower it"),
        (None, "cuda:2", "--device cuda:2 needs that GPU, but 2 are visible; use --device auto"),
    ],
)
def test_what_cannot_be_is_refused(wish: int | None, device: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        plan(wish, device, [2**33, 2**33], 4)


def test_without_gpus_there_are_no_workers_on_them() -> None:
    with pytest.raises(SettingsError, match="--device cuda needs that GPU, but 0 are visible"):
        plan(None, "cuda", [], 4)


@pytest.mark.parametrize(("devices", "threads"), [((), 1), (("cpu",), 0)])
def test_slots_cannot_be_impossible(devices: tuple[str, ...], threads: int) -> None:
    with pytest.raises(SettingsError, match="a device each and at least 1 thread"):
        Slots(devices, threads)


def test_there_is_a_core() -> None:
    assert usable_cores() >= 1


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_a_place_has_its_threads(device: str) -> None:
    place = Place.of(device, 3, "0,1")
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    assert (place.device, place.environment) == (device, dict.fromkeys(names, "3"))


@pytest.mark.parametrize(
    ("visible", "device", "seen"),
    [
        (None, "cuda:1", "1"),
        (None, "cuda", "0"),
        ("2,5", "cuda:1", "5"),
        ("GPU-ab, GPU-cd", "cuda:1", "GPU-cd"),
    ],
)
def test_a_worker_sees_its_own_gpu_alone(visible: str | None, device: str, seen: str) -> None:
    place = Place.of(device, 2, visible)
    assert (place.device, place.environment[GPUS]) == ("cuda:0", seen)
    assert place.environment["OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize(("visible", "count"), [("0,1", 2), ("", 0)])
def test_a_gpu_that_is_not_visible_is_refused(visible: str, count: int) -> None:
    words = f"one of the {count} in CUDA_VISIBLE_DEVICES, but is cuda:2"
    with pytest.raises(SettingsError, match=words):
        Place.of("cuda:2", 1, visible)
