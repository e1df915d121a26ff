"""Conditions on rows: what they mean, which is what Python means where no value is missing, and what they refuse."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae.analysis.condition import WRITE, check_columns, met
from vae.errors import UserError

ROWS = pd.DataFrame(
    {
        "latent_size": [25, 50, 50, 100],
        "kld": [0.5, 2.0, None, 4.5],
        "encoder": ["DNN1", "CNN1", "CNN4", "DNN1"],
        "collapsed": pd.Series([True, False, None, False], dtype=object),
        "objective.beta": [0.5, 1.0, 2.0, 4.0],
        "silhouette": [np.nan] * 4,
    }
)


def places(condition, rows=ROWS):
    return [place for place, truth in enumerate(met(rows, condition)) if truth]


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("latent_size <= 50 and not collapsed", [1]),
        ("(latent_size == 25 or latent_size == 100)", [0, 3]),
        ("25 < latent_size <= 50", [1, 2]),
        ("encoder in ['DNN1', 'CNN4']", [0, 2, 3]),
        ("encoder not in ('DNN1',)", [1, 2]),
        ("'CNN' in encoder", [1, 2]),
        ("encoder == 'DNN1' and objective.beta > 1", [3]),
        ("kld > -1e1", [0, 1, 3]),
        ("collapsed == False", [1, 3]),
        (" True ", [0, 1, 2, 3]),
        ("latent_size in []", []),
        # A missing value: neither true nor false, and so is `not` of it, unless the other side decides.
        ("kld > 1", [1, 3]),
        ("kld != 2", [0, 3]),
        ("not kld > 1", [0]),
        ("not collapsed", [1, 3]),
        ("kld > 1 or latent_size == 50", [1, 2, 3]),
        ("not (kld > 1 and latent_size == 50)", [0, 3]),
        ("kld in [0.5, 2]", [0, 1]),
        ("kld not in [0.5, 2]", [3]),
        ("latent_size in [kld, 50]", [1, 2]),
        ("latent_size not in [kld]", [0, 1, 3]),
        ("kld is None", [2]),
        ("kld is not None and not collapsed", [1, 3]),
        ("silhouette > 0 or silhouette <= 0", []),
        ("silhouette is None and silhouette != 'text'", []),
    ],
)
def test_what_a_condition_means(condition, wanted):
    assert places(condition) == wanted


NUMBERS, TEXTS, TRUTHS = ("latent_size", "kld"), ("encoder",), ("collapsed",)
COMPARE = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
ATOMS = st.one_of(
    st.builds("{} {} {}".format, st.sampled_from(NUMBERS), COMPARE, st.sampled_from([*NUMBERS, "2", "-1", "50"])),
    st.builds("1 {} {} {} 50".format, COMPARE, st.sampled_from(NUMBERS), COMPARE),
    st.builds("encoder {} {}".format, st.sampled_from(["in", "not in"]), st.sampled_from(["['DNN1']", "()"])),
    st.sampled_from(["collapsed", "collapsed != True", "encoder == 'DNN1'", "'N1' in encoder", "'N1' not in encoder"]),
)
CONDITIONS = st.recursive(
    ATOMS,
    lambda parts: st.one_of(
        st.builds("({} and {})".format, parts, parts),
        st.builds("({} or {} or {})".format, parts, parts, parts),
        st.builds("not ({})".format, parts),
    ),
)


def in_python(condition, row):
    return eval(condition, {"__builtins__": {}}, row)  # of conditions that this test has made


@given(condition=CONDITIONS)
def test_without_missing_values_a_condition_means_what_it_does_in_python(condition):
    rows = ROWS[ROWS["kld"].notna()].drop(columns="silhouette")
    assert met(rows, condition) == [in_python(condition, row) for row in rows.to_dict("records")]


@given(condition=CONDITIONS)
def test_a_row_that_is_listed_would_be_whatever_its_missing_values_were(condition):
    row = ROWS.iloc[2].to_dict()
    truths = {
        in_python(condition, row | {"kld": kld, "collapsed": collapsed})
        for kld, collapsed in product([-5.0, 1.0, 2.0, 30.0, 50.0, 99.0], [True, False])
    }
    if met(ROWS.iloc[[2]], condition) == [True]:
        assert truths == {True}
    if met(ROWS.iloc[[2]], f"not ({condition})") == [True]:
        assert truths == {False}


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("latent_sise < 5", "unknown column 'latent_sise' .* did you mean 'latent_size'?"),
        ("objective.bete < 5", "did you mean 'objective.beta'?"),
        ("encoder == DNN1", "unknown column 'DNN1' .text is written in quotes"),
        ("collapsed == false", "did you mean 'False'?"),
        ("encoder == 5", "encoder is text, 5 is a number"),
        ("latent_size == '50'", "latent_size is a number, '50' is text"),
        ("latent_size in [50, '25']", "latent_size is a number, '25' is text"),
        ("collapsed == 1", "collapsed is true or false, 1 is a number"),
        ("collapsed < True", "true or false, and neither more nor less"),
        ("latent_size", "latent_size is a number, and no condition"),
        ("not encoder", "encoder is text, and no condition"),
        ("encoder in ('DNN1')", "write ..DNN1..$"),
        ("5 in encoder", "takes a list in brackets"),
        ("latent_size is 50", "write == for values"),
        ("kld == None", "neither a column nor a number nor text"),
        ("latent_size = 50", WRITE),
        ("latent_size < 50 & kld > 1", "write comparisons of columns, joined by and, or, not"),
        ("", WRITE),
        ("kld < 1\x00", WRITE),
        ("kld < 1; kld", WRITE),
        ("5and kld", WRITE),
        ("(" * 500 + "kld", WRITE),
        ("not " * 450 + "collapsed and " * 3000, "more than 2000 characters"),
        # Nothing is called, looked up, computed or assigned.
        ("__import__('os').system('true')", "neither a column nor a number nor text"),
        ("kld.__class__ == 1", "unknown column 'kld.__class__'"),
        ("().__class__ == 1", "neither a column"),
        ("[kld for kld in (1,)]", "neither a column"),
        ("(lambda: 1)()", "neither a column"),
        ("kld * 10 ** 9 > 1", "neither a column"),
        ("f'{kld}' == ''", "neither a column"),
        ("encoder[0] == 'D'", "neither a column"),
        ("(kld := 1)", "neither a column"),
        ("kld if collapsed else True", "neither a column"),
        ("kld == 1j", "neither a column"),
        ("encoder == b'DNN1'", "neither a column"),
        ("- -kld > 1", "neither a column"),
    ],
)
def test_what_is_no_condition_is_refused_in_one_line(condition, reason):
    with pytest.raises(UserError, match=reason) as error:
        met(ROWS, condition)
    assert "\n" not in str(error.value)


def test_a_column_of_text_and_numbers_is_text():
    rows = pd.DataFrame({"value": pd.Series(["a", 3, None], dtype=object)})
    assert met(rows, "value == '3'") == [False, True, False]


def test_no_row_meets_anything():
    assert met(ROWS.iloc[:0], "latent_size < 5 and not collapsed or encoder in ['a']") == []


def test_columns_are_checked_with_the_nearest_name():
    check_columns(["kld"], ROWS)
    with pytest.raises(UserError, match=r"^unknown column 'klt'; did you mean 'kld'\?$"):
        check_columns(["kld", "klt"], ROWS)
    with pytest.raises(UserError, match=r"^unknown column ''; the table has latent_size, kld, "):
        check_columns([""], ROWS)
