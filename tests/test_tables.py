"""Tables: the CSV files that DVC draws."""

import pandas as pd
import pytest

from distillery.data.errors import InputError
from distillery.data.tables import read_table, write_table


def test_table_is_read_back_exactly(tmp_path):
    frame = pd.DataFrame({"epoch": [1, 2], "loss": [0.1 + 0.2, 1e-17]})
    write_table(tmp_path / "table.csv", frame)
    assert (tmp_path / "table.csv").read_text() == "epoch,loss\n1,0.30000000000000004\n2,1e-17\n"
    pd.testing.assert_frame_equal(read_table(tmp_path / "table.csv"), frame, check_exact=True)


def test_names_of_classes_stay_text(tmp_path):
    frame = pd.DataFrame({"actual": ["01", "NA", "Größe, №1", "1.0"]}, dtype=str)
    write_table(tmp_path / "table.csv", frame)
    assert read_table(tmp_path / "table.csv", text=True)["actual"].tolist() == frame["actual"].tolist()


@pytest.mark.parametrize("content", ["", "epoch,loss\n", 'epoch,loss\n1,"\n'])
def test_damaged_table_raises_input_error(tmp_path, content):
    (tmp_path / "bad.csv").write_text(content)
    with pytest.raises(InputError, match=r"bad\.csv: .*run `dvc repro`"):
        read_table(tmp_path / "bad.csv")
