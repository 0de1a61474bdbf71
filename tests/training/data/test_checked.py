"""Tables of rows that were checked by hand, and of rows to check."""

import numpy as np
import pytest

from scbch_keras.labels.posterior import propose
from scbch_keras.training.data.own.checked import proposal_in_words, read_checked, write_proposal

pytestmark = pytest.mark.numpy_only
IDS = np.array(["a", "b", "=c", "d"])
NAMES = ("cat", "dog", "a;b")


def read(tmp_path, text, name="checked.csv", **settings):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_checked(tmp_path / name, IDS, NAMES, **settings)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("checked.csv", 'id,note,labels\nd,x,cat;dog\nb,,\n"=c",,"[""a;b""]"\n'),
        ("checked.csv", 'id,labels\nd, dog ; cat \nb,\n\'=c,"[""a;b""]"\n'),
        (
            "checked.jsonl",
            '{"id": "d", "labels": ["cat", "dog"]}\n{"id": "b", "labels": []}\n{"id": "=c", "labels": ["a;b"]}\n',
        ),
    ],
)
def test_ids_and_labels_are_read_in_the_order_of_the_table(tmp_path, name, text):
    found = read(tmp_path, text, name)
    np.testing.assert_array_equal(found.rows, [3, 1, 2])
    np.testing.assert_array_equal(found.labels, [[1, 1, 0], [0, 0, 0], [0, 0, 1]])
    assert found.origin.startswith(f"3 rows of {name}, SHA-256 ")


@pytest.mark.parametrize("by", ["random", "doubtful", "balanced"])
def test_a_proposal_can_be_read_as_it_was_written(tmp_path, by):
    labels = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 1], [1, 1, 1]], "uint8")
    proposal = propose(np.full((4, 3), 0.4), labels, 3, by)
    write_proposal(tmp_path / "check.csv", proposal, IDS.tolist(), labels, NAMES)
    found = read_checked(tmp_path / "check.csv", IDS, NAMES)
    np.testing.assert_array_equal(found.rows, proposal.rows)
    np.testing.assert_array_equal(found.labels, labels[proposal.rows])
    told = proposal_in_words(proposal, tmp_path / "check.csv")
    assert "3 rows to check" in told
    assert "75% of the expected error" in told
    assert ("not drawn at random" in told) == (by != "random")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "id,labels\na,cat\nz,cat\n",
            r"checked: checked.csv, row 2 \(line 3\): id: expected one of the 4 rows.*'z'",
        ),
        ("id,labels\na,cat\n,cat\n", "row 2 .*: id: expected one of the 4 rows"),
        ("id,labels\na,cat\na,dog\n", r"row 2 \(line 3\): the id 'a' is already that of .*row 1"),
        (
            "id,labels\na,cow\n",
            r"row 1 \(line 2\): expected labels of the vocabulary, got the unknown label 'cow'",
        ),
        ("id,labels\na,cat;cat\n", "expected each label once"),
        ("id,labels\na,cat;;dog\n", "expected names, got an empty one"),
        ("id,label\na,cat\n", "checked: checked.csv: the column 'labels' is missing; found: id, label"),
        ("row,labels\na,cat\n", "the column 'id' is missing"),
        ("id,labels\n", "expected at least one row, got none"),
        ("id,labels\na\n", "expected 2 cells, as in the header, got 1"),
    ],
)
def test_what_is_no_table_of_checked_rows_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize("name", ["checked.txt", "checked.npz"])
def test_other_files_are_refused(tmp_path, name):
    with pytest.raises(
        ValueError, match=r"checked: expected a \.csv or \.jsonl file with the columns id and labels"
    ):
        read(tmp_path, "id,labels\n", name)
    with pytest.raises(ValueError, match=r"checked: expected a \.csv or \.jsonl"):
        read_checked(tmp_path / "none.csv", IDS, NAMES)
