"""Patients and domains that file names tell."""

import pytest

from nas.data.names import PRESETS, Recognised, recognise

KERMANY, NIH, DEMO = (preset.title for preset in PRESETS)


def one(stem: str, *others: str) -> tuple[str, str]:
    """Patient and domain of a name among others."""
    known = recognise([f"train/A/{name}.jpeg" for name in (stem, *others)])
    return known.patients[0], known.domains[0]


# The chest X-rays of Kermany et al.


@pytest.mark.parametrize(
    ("stem", "patient", "domain"),
    [
        ("person12_bacteria_46", "person12_bacteria", "bacteria"),
        ("person12_virus_46", "person12_virus", "virus"),
        ("person1000_virus_1681", "person1000_virus", "virus"),
        ("IM-0115-0001", "IM-0115", "IM"),
        ("NORMAL2-IM-0383-0001", "NORMAL2-IM-0383", "NORMAL2-IM"),
        ("NORMAL2-IM-0383-0001-0002", "NORMAL2-IM-0383", "NORMAL2-IM"),
    ],
)
def test_names_of_the_chest_x_rays_tell_patient_and_series(
    stem: str, patient: str, domain: str
) -> None:
    others = ["person1_virus_1", "NORMAL2-IM-1-1"]
    assert one(stem, *others) == (patient, domain)
    assert recognise([stem, *others]).preset == KERMANY


def test_the_same_number_with_another_etiology_or_series_is_another_person() -> None:
    stems = ["person12_bacteria_46", "person12_virus_46", "IM-0115-1", "NORMAL2-IM-0115-1"]
    assert len(set(recognise(stems).patients)) == 4


def test_numbers_of_a_series_alone_are_no_patients() -> None:
    """IM-0001-0001 is what many viewers call the first image of any series."""
    paths = [f"A/IM-0001-{image:04d}.png" for image in range(20)]
    assert recognise(paths) == Recognised(("",) * 20, ("",) * 20, None)


@pytest.mark.parametrize("tell_tale", ["person1_bacteria_1", "NORMAL2-IM-0001-0001"])
def test_one_tell_tale_makes_the_same_numbers_patients(tell_tale: str) -> None:
    known = recognise([*(f"IM-{p:04d}-0001" for p in range(20)), tell_tale])
    assert known.patients[:20] == tuple(f"IM-{p:04d}" for p in range(20))
    assert known.preset == KERMANY


@pytest.mark.parametrize("stem", ["person12_fungus_46", "person12_virus", "IM-0115", "xIM-0115-1"])
def test_names_that_are_nearly_of_a_preset_tell_nothing(stem: str) -> None:
    fitting = [f"person{p}_virus_1" for p in range(20)]
    assert one(stem, *fitting) == ("", "")


# Others


def test_names_of_the_nih_tell_the_patient_and_no_domain() -> None:
    known = recognise(["images/00000001_000.png", "images/00000001_001.png", "00030805_002.png"])
    assert known == Recognised(("00000001", "00000001", "00030805"), ("", "", ""), NIH)


@pytest.mark.parametrize(
    "stem", ["00000001_0000", "0000001_000", "00000001_000_x", "x00000001_000"]
)
def test_other_digits_are_not_of_the_nih(stem: str) -> None:
    assert recognise([stem] * 3).patients == ("",) * 3


def test_names_of_the_demo_set_tell_the_patient() -> None:
    assert recognise(["demo0042_1", "demo0042_2"]) == Recognised(
        ("demo0042", "demo0042"), ("", ""), DEMO
    )
    assert recognise(["demo0042_1_2"]).patients == ("",)


# Believed for a whole data set or not at all


@pytest.mark.parametrize(("strays", "believed"), [(0, True), (1, True), (2, True), (3, False)])
def test_a_preset_must_fit_nine_names_of_ten(strays: int, believed: bool) -> None:
    paths = [f"person{p}_virus_1.png" for p in range(20 - strays)]
    paths += [f"scan{p}.png" for p in range(strays)]
    known = recognise(paths)
    if believed:
        assert known.preset == KERMANY
        assert known.patients[0] == "person0_virus"
        assert known.patients[20 - strays :] == ("",) * strays
    else:
        assert known == Recognised(("",) * 20, ("",) * 20, None)


def test_strays_beside_a_preset_still_have_their_plain_names() -> None:
    known = recognise([*(f"demo{p:04d}_1.png" for p in range(9)), "sub-01_view.png"])
    assert known.patients[9] == "sub-01"
    assert known.preset == DEMO


def test_nothing_is_told_of_nothing() -> None:
    assert recognise([]) == Recognised((), (), None)


# Plain habits


@pytest.mark.parametrize(
    ("path", "patient"),
    [
        ("sub-01_x.png", "sub-01"),
        ("sub-pixar001_ses-2.png", "sub-pixar001"),
        ("patient_7.png", "patient_7"),
        ("patient_7_left.png", "patient_7"),
        ("Patient12-3.png", "Patient12"),
        ("subject-3.b.png", "subject-3"),
        ("SUBJECT 4 a.png", "SUBJECT 4"),
        ("my_patient_7.png", ""),
        ("patients.png", ""),
        ("scan_0001.png", ""),
        ("", ""),
        # A folder's whole name, from the file outwards.
        ("A/patient7/view1.png", "patient7"),
        ("sub-03/ses-1/x.png", "sub-03"),
        ("patient7/subject8/x.png", "subject8"),
        ("patient7/subject8_x.png", "subject8"),
        ("patient7_of_9/x.png", ""),
        ("patients/x.png", ""),
    ],
)
def test_plain_names_of_files_and_folders_name_a_patient_wherever_they_occur(
    path: str, patient: str
) -> None:
    others = ["train/A/scan1.png", "train/A/scan2.png"]
    assert recognise([path, *others]).patients == (patient, "", "")
    assert recognise([*others, path]).patients == ("", "", patient)
