import pytest

from tl_pipeline.reporting.markup import (
    Html,
    make_element,
    make_list,
    make_prose,
    make_section,
    make_table,
)


def test_text_is_escaped_once_and_markup_stays():
    assert make_element("p", make_element("b", "a & b"), " < c") == (
        "<p><b>a &amp; b</b> &lt; c</p>"
    )


def test_attributes_are_escaped_and_absent_ones_left_out():
    made = make_element("i", title='"><b>', class_="x", stroke_width=2, style=None)
    assert made == '<i title="&quot;&gt;&lt;b&gt;" class="x" stroke-width="2"></i>'


def test_code_in_prose_is_escaped_too():
    assert make_prose("`<b>` & co") == "<code>&lt;b&gt;</code> &amp; co"


def test_numbers_stand_to_the_right_under_a_head_that_does_too():
    table = make_table([{"name": "a", "n": 1200}, {"name": "b", "n": None}])
    assert '<th scope="col" class="number">n</th>' in table
    assert '<td class="number">1,200</td>' in table
    assert '<td class="number">-</td>' in table
    assert '<th scope="col">name</th>' in table


def test_a_marked_row_is_the_one_asked_for():
    table = make_table([{"n": "a"}, {"n": "b"}], marked=[1])
    assert table.count("marked") == 1
    assert '<tr class="marked"><td>b' in table


@pytest.mark.parametrize("empty", [make_table([]), make_list([], most=3)])
def test_what_is_empty_takes_no_place(empty: Html):
    assert empty == ""
    assert make_section("title", empty, "") == ""


def test_a_long_list_is_cut_and_says_so():
    assert make_list(["a", "b", "c"], most=2).endswith(
        "<li>b</li><li>and 1 more</li></ul>"
    )
