from tl_pipeline.reporting.tables import escape_text, format_cell, format_table


def test_columns_are_aligned_by_what_the_eye_sees():
    table = format_table(
        [
            {"class": "蜂", "n": 5, "share": 0.5},
            {"class": "cafe\u0301", "n": 1200, "share": None},
            {"class": "می\u200cخواهم", "n": 12, "share": 1e-5},
        ]
    )
    assert table.split("\n") == [
        "class        n  share",
        "蜂           5  0.500",  # one character, two cells wide
        "cafe\u0301     1,200      -",  # two characters, one cell wide
        "می\u200cخواهم     12  1e-05",  # a joiner takes no cell
    ]


def test_text_stands_left_and_lines_end_where_they_end():
    table = format_table([{"n": 1, "what": "a"}, {"n": 22, "what": "longer"}])
    assert table == " n  what\n 1  a\n22  longer"


def test_yes_and_no_are_no_numbers():
    assert format_table([{"ok": True}, {"ok": False}]) == "ok\nyes\nno"


def test_a_key_that_a_row_lacks_is_a_dash():
    assert format_table([{"a": "x", "b": 1}, {"a": "y"}]) == "a  b\nx  1\ny  -"


def test_no_rows_are_no_table():
    assert format_table([]) == ""


def test_a_name_cannot_move_the_cursor_or_turn_the_line():
    evil = "a\n\x1b[2Jb\r\u202egpj\u2066\udcff\x85"
    shown = "a\\n\\x1b[2Jb\\r\\u202egpj\\u2066\\udcff\\x85"
    assert escape_text(evil) == shown
    assert format_cell(evil) == shown
    assert format_table([{evil: evil}]) == f"{shown}\n{shown}"
    assert escape_text("naïve 日本 👩\u200d🔬 می\u200cخواهم") == (
        "naïve 日本 👩\u200d🔬 می\u200cخواهم"
    )
