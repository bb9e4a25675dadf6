"""Which run and which trial a command means."""

from pathlib import Path

from nas.errors import RunError, SettingsError
from nas.runfolder import RunFolder, newest
from nas.storage import Place
from nas.study import TrialRecord, best_first, read_records


def choose_run(runs: Path, name: str | None) -> RunFolder:
    """The run of that name, or the newest.

    Raises:
        RunError: there is none, or the name is not a plain folder name.
    """
    return RunFolder.named(runs, name) if name else newest(runs)


def records_of(folder: RunFolder, storage: str | None) -> tuple[TrialRecord, ...]:
    """The trials of a run, which are in its folder or in the database of this URL.

    Raises:
        RunError: there is no study, or it cannot be read.
        SettingsError: the URL is not one.
    """
    name = folder.path.resolve().name
    return read_records(Place(storage, name) if storage else folder.study)


def choose_trial(records: tuple[TrialRecord, ...], wish: str, folder: RunFolder) -> TrialRecord:
    """The trained trial that is meant by "best" or by a number.

    Raises:
        RunError: no trial is scored yet, or the one asked for is not there or was not trained.
        SettingsError: neither "best" nor a number.
    """
    if wish == "best":
        return _best(records, folder)
    found = _numbered(records, wish)
    if found is not None and found.duplicate_of is not None:
        return choose_trial(records, str(found.duplicate_of), folder)
    if found is None or found.score is None:
        why = (found.reason or "it is not scored yet") if found else "there is none"
        raise RunError(
            f"an exported trial must have been trained, but trial {wish} of {folder.path} was not "
            f"({why}); choose one of the table, or best"
        )
    return found


def choose_genome(records: tuple[TrialRecord, ...], wish: str, folder: RunFolder) -> TrialRecord:
    """The trial that is meant by "best" or by a number, trained or not, if it has a genome.

    Raises:
        RunError: no trial is scored yet, or the one asked for is not there or has no genome.
        SettingsError: neither "best" nor a number.
    """
    if wish == "best":
        return _best(records, folder)
    found = _numbered(records, wish)
    if found is None or found.genome is None:
        numbers = [record.number for record in records if record.genome is not None]
        have = f"{min(numbers)} to {max(numbers)}" if numbers else "none"
        raise RunError(
            f"the trial must have a genome, but trial {wish} of {folder.path} has none (those with "
            f"one: {have}); give another number, or best"
        )
    return found


def _best(records: tuple[TrialRecord, ...], folder: RunFolder) -> TrialRecord:
    ranked = best_first(records)
    if not ranked:
        raise RunError(
            f"the best trial must have a score, but none of {folder.path} has one yet; "
            "let the search go on"
        )
    return ranked[0]


def _numbered(records: tuple[TrialRecord, ...], wish: str) -> TrialRecord | None:
    if not wish.isdecimal():
        raise SettingsError(
            f"the trial must be best or a number, but is {wish!r}; for example best"
        )
    return next((record for record in records if record.number == int(wish)), None)
