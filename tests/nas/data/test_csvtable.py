"""A CSV file that lists images: what is taken, and what is refused."""

import csv
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.data.csvtable import NAMES, SPLIT_NAMES, read_table
from nas.data.table import COLUMNS, SPLITS
from nas.errors import DataError

TWO = ["path,label", "1.png,A", "2.png,B"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "list.csv"


def table_of(file: Path, *lines: str) -> pd.DataFrame:
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_table(file)[0]


# What is taken


def test_all_columns_become_those_of_a_source(file: Path) -> None:
    file.write_text(
        "split,domain,patient,label,path\n"
        "train,GE,1,B,x/1.png\ntrain,,2,A,2.png\ntest,GE,,A,3.png\ntest,,3,B,4.png\n"
    )
    table, classes, notes = read_table(file)
    assert (classes, notes) == (("A", "B"), ())
    assert tuple(table.columns) == COLUMNS
    assert list(table.itertuples(name=None)) == [
        (0, "x/1.png", 1, "1", "GE", "train"),
        (1, "2.png", 0, "2", "", "train"),
        (2, "3.png", 0, "", "GE", "test"),
        (3, "4.png", 1, "3", "", "test"),
    ]


def test_path_and_label_are_enough(file: Path) -> None:
    table = table_of(file, *TWO)
    assert table.iloc[0].tolist() == ["1.png", 0, "", "", "train"]


@pytest.mark.parametrize(
    ("column", "heading"), [(column, name) for column, names in NAMES.items() for name in names]
)
def test_headings_are_taken_in_any_case_and_a_note_says_which(
    file: Path, column: str, heading: str
) -> None:
    cells = {"path": "1.png", "label": "A", "patient": "p", "domain": "d", "split": "train"}
    headings = [f" {heading.upper()} " if name == column else name for name in COLUMNS]
    other = {**cells, "path": "2.png", "label": "B"}
    file.write_text("\n".join(",".join(row) for row in (headings, cells.values(), other.values())))
    table, _, notes = read_table(file)
    assert table.iloc[0].tolist() == ["1.png", 0, "p", "d", "train"]
    assert notes == (f"columns of list.csv: {column} from {f' {heading.upper()} '!r}",)


def test_the_first_of_several_names_is_taken(file: Path) -> None:
    table = table_of(file, "image,filename,label,class", "9.png,1.png,A,x", "8.png,2.png,B,y")
    assert table["path"].tolist() == ["1.png", "2.png"]
    assert table["label"].tolist() == [0, 1]


def test_other_columns_and_headings_without_a_name_are_left_alone(file: Path) -> None:
    table = table_of(file, ",path,label,age,,", "0,1.png,A,7,,", "1,2.png,B,8,,")
    assert table["path"].tolist() == ["1.png", "2.png"]


def test_of_two_equal_headings_the_first_is_taken(file: Path) -> None:
    table = table_of(file, "path,path,label", "1.png,9.png,A", "2.png,8.png,B")
    assert table["path"].tolist() == ["1.png", "2.png"]


def test_a_byte_order_mark_is_no_part_of_the_first_heading(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(TWO).encode())
    assert read_table(file)[0]["path"].tolist() == ["1.png", "2.png"]


def test_quotes_hold_commas_quotes_and_line_ends(file: Path) -> None:
    table = table_of(file, "path,label", '"a,b ""c"".png","x\ny"', "2.png,B")
    assert table["path"].tolist() == ['a,b "c".png', "2.png"]


@pytest.mark.parametrize("text", ["NA", "nan", "None", "null", "N/A", "#N/A", "1e3", "True"])
def test_every_cell_stays_the_text_that_it_is(file: Path, text: str) -> None:
    file.write_text(f"path,label,patient,domain\n1.png,{text},{text},{text}\n2.png,007,007,0.50\n")
    table, classes, _ = read_table(file)
    assert set(classes) == {text, "007"}
    assert table["patient"].tolist() == [text, "007"]
    assert table["domain"].tolist() == [text, "0.50"]


def test_backslashes_are_folders(file: Path) -> None:
    table = table_of(file, "path,label", "x\\y\\1.png,A", "x/2.png,B")
    assert table["path"].tolist() == ["x/y/1.png", "x/2.png"]


def test_spaces_around_cells_do_not_count(file: Path) -> None:
    table = table_of(file, "path,label,patient", " 1.png , A, 7 ", "2.png,A,7", "3.png,B,")
    assert table["path"].tolist()[0] == "1.png"
    assert table["label"].tolist() == [0, 0, 1]
    assert table["patient"].tolist() == ["7", "7", ""]


def test_empty_lines_are_no_rows_and_last_cells_may_be_left_out(file: Path) -> None:
    table = table_of(file, "path,label,patient", "", "1.png,A", ",,", "2.png,B,7", "")
    assert table["path"].tolist() == ["1.png", "2.png"]
    assert table["patient"].tolist() == ["", "7"]


@pytest.mark.parametrize(("name", "split"), SPLIT_NAMES.items())
def test_splits_go_by_many_names(file: Path, name: str, split: str) -> None:
    rows = [f"{label}{i}.png,{label},train" for label in "AB" for i in (1, 2)]
    rows += [f"{label}3.png,{label}, {name.upper()}" for label in "AB"]
    table = table_of(file, "path,label,split", *rows)
    assert table["split"].tolist() == ["train"] * 4 + [split] * 2


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        (["10", "9", "1"], ["1", "9", "10"]),
        (["2", "-1", "0.5"], ["-1", "0.5", "2"]),
        (["b", "a", "C"], ["C", "a", "b"]),
        (["x", "10", "9"], ["9", "10", "x"]),
        (["nan", "2", "1", "inf"], ["1", "2", "inf", "nan"]),
        (["1", "inf", "2", "nan"], ["1", "2", "inf", "nan"]),
        (["1", "01", "1.0"], ["01", "1", "1.0"]),
    ],
)
def test_classes_that_are_numbers_come_by_value_and_words_by_letter(
    file: Path, labels: list[str], order: list[str]
) -> None:
    lines = [f"{row}.png,{label}" for row, label in enumerate(labels)]
    file.write_text("\n".join(["path,label", *lines]))
    table, classes, _ = read_table(file)
    assert list(classes) == order
    assert [classes[label] for label in table["label"]] == labels


TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8
).filter(lambda text: bool(text.strip()))


@given(
    st.lists(st.tuples(TEXTS, TEXTS, TEXTS | st.just("")), min_size=2, max_size=8),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig"]),
)
def test_what_another_program_writes_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, str]],
    quoting: int,
    end: str,
    encoding: str,
) -> None:
    file = tmp_path_factory.mktemp("round") / "list.csv"
    cells = [(f"{row}{path}", label, who) for row, (path, label, who) in enumerate(rows)]
    with file.open("w", encoding=encoding, newline="") as text:
        writer = csv.writer(text, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
        writer.writerows([("path", "label", "patient"), *cells])
    labels = {label.strip() for _, label, _ in cells}
    if len(labels) < 2:
        with pytest.raises(DataError, match="at least two classes"):
            read_table(file)
        return
    table, classes, notes = read_table(file)
    assert (set(classes), notes) == (labels, ())
    found = [
        (path, classes[label], who)
        for path, label, who in zip(table["path"], table["label"], table["patient"], strict=True)
    ]
    assert found == [
        (path.strip().replace("\\", "/"), label.strip(), who.strip()) for path, label, who in cells
    ]


# What is refused: in one sentence that names the rule, the line, the value and the remedy


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        ([*TWO, ",B"], ["every row must have a path", "line 4", "''", "fill it in"]),
        ([TWO[0], "", "1.png, ", "2.png,B"], ["must have a label", "line 3", "''", "fill it in"]),
        ([TWO[0], "1.png", "2.png,B"], ["must have a label", "line 2", "''", "fill it in"]),
        (['path,"label', '"', "1.png,A", ",B"], ["must have a path", "line 4 ", "fill it in"]),
        ([*TWO, "", "1.png,B"], ["every image must come once", "line 5", "'1.png'", "remove"]),
        (
            [TWO[0], "a/1.png,A", "a\\1.png,B"],
            ["every image must come once", "line 3", "'a/1.png'", "remove"],
        ),
        (
            [TWO[0], "1.png,A", "2,5.png,B"],
            ["one cell for each of the 2 headings", "line 3", "has 3", "quote"],
        ),
        ([TWO[0], "1.png,A,", "2.png,B,"], ["2 headings", "line 2", "has 3", "quote"]),
        (
            ["path,label,split", "1.png,A,train", "2.png,B,holdout"],
            [f"a split must be {', '.join(SPLITS)}", "line 3", "'holdout'", "choose one"],
        ),
        (
            ["path,label,split", "1.png,A,train", "2.png,B,"],
            ["a split must be train", "line 3", "''", "choose one"],
        ),
        (
            ["path,label,split", "1.png,A,test", "2.png,B,test"],
            ["train must have images", "has none", "add some"],
        ),
        (
            ["path,label,split", "1.png,A,train", "2.png,B,train", "3.png,B,test"],
            ["every class", "test has none of 'A'", "add some"],
        ),
        (
            ["path,label,split", "1.png,A,train", "2.png,B,test"],
            ["every class", "train has none of 'B'", "add some"],
        ),
        ([TWO[0], "1.png,A", "2.png,A"], ["at least two classes", "only 'A'", "add images"]),
        (["path,text", "1.png,A"], ["a column 'label'", "'path', 'text'", "rename"]),
        (["path;label", "1.png;A"], ["a column 'path'", "'path;label'", "rename"]),
        (["name,label", "1.png,A"], ["a column 'path'", "'name', 'label'", "rename"]),
        ([TWO[0]], ["must have rows", "has none", "add images"]),
        ([TWO[0], "", ",", ""], ["must have rows", "has none", "add images"]),
        ([""], ["must have rows", "has none", "add images"]),
        ([TWO[0], '1.png,"A'], ["CSV file in UTF-8", "cannot be read", "save it anew"]),
    ],
)
def test_lists_that_cannot_be_used(file: Path, lines: list[str], parts: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        table_of(file, *lines)
    check_sentence(str(caught.value), str(file), *parts)


def check_sentence(message: str, *parts: str) -> None:
    for part in parts:
        assert part in message
    assert "\n" not in message
    assert not message.endswith(".")
    assert len(message) < 400


@pytest.mark.parametrize(
    "content",
    ["path,label\nä.png,A\nb.png,B\n".encode("latin-1"), "path,label\n1.png,A".encode("utf-16")],
)
def test_other_encodings_are_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table(file)
    check_sentence(str(caught.value), "in UTF-8", f"{file} cannot be read", "save it anew")


def test_files_that_cannot_be_opened_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name, reason in (("folder.csv", "Is a directory"), ("none.csv", "No such file")):
        with pytest.raises(DataError) as caught:
            read_table(tmp_path / name)
        check_sentence(str(caught.value), str(tmp_path / name), reason, "save it anew")


@given(st.binary(max_size=200))
def test_whatever_bytes_there_are_end_in_a_table_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.mktemp("bytes") / "list.csv"
    file.write_bytes(b"path,label\n" + content)
    try:
        read_table(file)
    except DataError as error:
        check_sentence(str(error), str(file))
