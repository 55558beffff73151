"""The sandbox reads Telegram's HTML as the Bot API does."""

import pytest

from vochi_agent.simulator.telegram_html import MarkupError, shown_text


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("просто текст", "просто текст"),
        ("<b>жирный <i>и косой</i></b>", "жирный и косой"),
        ("<blockquote expandable>раз\nдва</blockquote>", "раз\nдва"),
        ('<a href="http://127.0.0.1/?a=1&amp;b=2">ссылка</a>', "ссылка"),
        ("&lt;b&gt; &amp; &quot;к&quot; &#1103;", '<b> & "к" я'),
        ("&nbsp; и &copy;", "&nbsp; и &copy;"),
        ("5 > 4 & 3", "5 > 4 & 3"),
        ("<b>без имени</>", "без имени"),
    ],
)
def test_good_markup_is_shown(source: str, shown: str) -> None:
    assert shown_text(source) == shown


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("<x>", 'Unsupported start tag "x" at byte offset 0'),
        ("яя<br>", 'Unsupported start tag "br" at byte offset 4'),
        ("a < b", 'Unsupported start tag "" at byte offset 2'),
        ("<b>", 'Can\'t find end tag corresponding to start tag "b"'),
        ("<b><i></b></i>", 'Unmatched end tag at byte offset 6, expected "</i>", found "</b>"'),
        ("</b>", "Unexpected end tag at byte offset 0"),
        ("<b", "Unclosed start tag at byte offset 0"),
    ],
)
def test_bad_markup_is_refused_in_telegrams_words(source: str, error: str) -> None:
    with pytest.raises(MarkupError) as refused:
        shown_text(source)

    assert str(refused.value) == error
