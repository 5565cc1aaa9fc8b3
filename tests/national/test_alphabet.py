"""Names in the order of a dictionary, as ICU has it."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable

import psycopg
from hypothesis import given
from hypothesis import strategies as st

from sdi.national import units
from sdi.national.alphabet import order

LETTERS = "aàảãáạăằẳẵắặâầẩẫấậbcdđeèẻẽéẹêềểễếệghiìỉĩíịklmnoòỏõóọôồổỗốộơờởỡớợpqrstuùủũúụưừửữứựvxyỳỷỹýỵ"


def test_letters_and_tones_stand_in_their_order() -> None:
    assert sorted({*LETTERS}, key=order) == [*LETTERS]
    names = ["An Khánh", "Ăn", "Ân Thi", "Ba Đình", "Bà Rịa", "Cửa Nam", "Dương Nội", "Đại Mỗ", "Đống Đa", "Hà Đông",
             "Ô Chợ Dừa", "Ở", "Phường 2", "Phường 10", "Tây Hồ", "Từ Liêm", "Yên Nghĩa"]  # fmt: skip
    assert sorted({*names}, key=order) == names


def test_letters_go_before_tones_and_both_before_case() -> None:
    assert sorted(["bán", "ban", "Bản b", "bản a"], key=order) == ["ban", "bán", "bản a", "Bản b"]
    assert order("9" * 5000) < order("1" + "0" * 5000), "of more digits than Python makes a number of"
    assert order(unicodedata.normalize("NFD", "Đường Ấp"))[:2] == order("đường ấp")[:2]


@given(st.text(), st.text())
def test_any_text_has_a_place(one: str, other: str) -> None:
    assert (order(one) < order(other)) + (order(one) > order(other)) + (one == other) == 1


def test_names_are_sorted_as_icu_sorts_them(new_database: Callable[[], str]) -> None:
    chance = random.Random(7)
    words = [*LETTERS, *LETTERS.upper(), "nguyễn", "Phường", "Thợ Nhuộm", "đông", "3", "12", "100"]
    names = {" ".join(chance.choices(words, k=chance.randint(1, 4))) for _ in range(3000)}
    names |= {each.name for each in units.provinces().values()}
    with psycopg.connect(new_database()) as connection:
        connection.execute("CREATE COLLATION dictionary (provider = icu, locale = 'vi-u-kn-true')")
        rows = connection.execute(
            "SELECT name FROM unnest(%s::text[]) name ORDER BY name COLLATE dictionary", [sorted(names)]
        ).fetchall()
    icu = [name for (name,) in rows]
    assert [order(name)[:2] for name in icu] == sorted(order(name)[:2] for name in names)
