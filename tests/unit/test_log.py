"""Log lines: one a record, whatever the record carries; no phone, no secret."""

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vochi_agent import log
from vochi_agent.crm.oauth import TokenKeeper, Tokens

logger = logging.getLogger("vochi_agent.asterisk.ami")


@pytest.fixture(autouse=True)
def _root_logger_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def written(
    form: str = "json", level: str = "debug", *, mask_phones: bool = True, secrets: Sequence[str] = ()
) -> io.StringIO:
    stream = io.StringIO()
    log.set_up(level=level, format=form, mask_phones=mask_phones, secrets=secrets, stream=stream)
    return stream


def message(text: str, *, level: int = logging.INFO, mask_phones: bool = True, secrets: Sequence[str] = ()) -> str:
    stream = written(mask_phones=mask_phones, secrets=secrets)
    logger.log(level, "%s", text)
    return json.loads(stream.getvalue())["message"]


def test_a_json_record_says_when_where_what_and_which_call() -> None:
    stream = written()
    token = log.linkedid.set("1795165024.84")
    logger.warning("AMI lost %s", "127.0.0.1:5038", extra={"action": "ami_lost", "attempt": 3, "open": True})
    log.linkedid.reset(token)

    record = json.loads(stream.getvalue())

    assert record.pop("time").endswith("Z")
    assert record == {
        "level": "warning",
        "logger": "vochi_agent.asterisk.ami",
        "message": "AMI lost 127.0.0.1:5038",
        "linkedid": "1795165024.84",
        "action": "ami_lost",
        "attempt": 3,
        "open": True,
    }


def test_a_console_record_reads_as_a_sentence() -> None:
    stream = written("console")
    logger.warning("AMI lost", extra={"action": "ami_lost"})

    assert stream.getvalue()[12:] == " WARNING asterisk.ami: AMI lost [action=ami_lost]\n"


@pytest.mark.parametrize("form", ["json", "console"])
@given(text=st.text(st.characters() | st.sampled_from("\r\n\x00\x1b\x7f\x85\x9b\u2028\u202e\ud800"), max_size=20))
def test_no_text_leaves_its_line_or_steers_the_terminal(form: str, text: str) -> None:
    """Wherever it comes in: the sentence, its arguments, fields, the call, an exception, the logger's own name."""
    stream = written(form)
    with log.about_call(text):
        logging.getLogger(f"x.{text}").info(f"name {text.replace('%', '')}", extra={"name_of_caller": text})  # noqa: G004
        logger.info("%s of %r", text, [text], extra={"linkedid": text, "deep": {text: (text,)}}, stack_info=True)
        try:
            raise RuntimeError(text)
        except RuntimeError as cause:
            logger.exception(text.replace("%", ""), exc_info=cause)

    lines = stream.getvalue().split("\n")

    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_a_json_record_gives_back_what_it_was_told(text: str) -> None:
    stream = written(mask_phones=False)
    logger.info("%s", text, extra={"name_of_caller": text})

    record = json.loads(stream.getvalue())

    assert (record["message"], record["name_of_caller"]) == (text, text)


async def test_a_call_is_named_in_records_of_its_block_and_of_tasks_begun_there() -> None:
    stream = written()

    async def say(words: str) -> None:
        logger.info(words)

    with log.about_call("1795165024.1"):
        late = asyncio.create_task(say("task"))
        with log.about_call("1795165024.2"):
            await say("inner")
        logger.info("other", extra={"linkedid": "1795165024.3"})
        await say("outer")
    await late
    await say("none")

    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {record["message"]: record.get("linkedid", "")[-1:] for record in records} == {
        "task": "1",
        "inner": "2",
        "other": "3",
        "outer": "1",
        "none": "",
    }


def test_a_record_is_bounded_and_a_secret_at_the_edge_is_not_cut_in_half() -> None:
    edge = "x" * (log.MAX_TEXT - 3)
    shown = message(f"{edge}quiet-token" + "y" * 100_000, secrets=["quiet-token"])

    assert len(shown) < log.MAX_TEXT + 50
    assert shown.startswith(f"{edge}***…")


def test_a_forged_record_stays_inside_the_real_one() -> None:
    stream = written()
    logger.info("name %s", 'x"}\n{"level": "error", "message": "forged')

    assert json.loads(stream.getvalue())["message"] == 'name x"}\n{"level": "error", "message": "forged'


def test_extra_fields_do_not_replace_those_of_the_record() -> None:
    stream = written()
    logger.info("true", extra={"level": "forged", "time": "forged"})

    record = json.loads(stream.getvalue())

    assert (record["level"], record["time"][:2]) == ("info", "20")


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_is_one_line_with_its_traceback(form: str) -> None:
    stream = written(form)
    try:
        raise RuntimeError("called by +375290000001\nsecond line")
    except RuntimeError:
        logger.exception("The event could not be handled")

    assert stream.getvalue().count("\n") == 1
    assert "RuntimeError: called by +375***01\\nsecond line" in stream.getvalue()
    assert "Traceback" in stream.getvalue()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from +375290000001.", "from +375***01."),
        ("375290000001", "375***01"),
        ("80290000001@trunk", "802***01@trunk"),
        ("PJSIP/80290000001-00000001", "PJSIP/802***01-00000001"),
        ("+375 (29) 000-00-01", "+375***01"),
        ("290000001", "290***01"),
        ("8 (029) 000-00-01", "802***01"),
        ("029 000-00-01", "029***01"),
        ("(029)000-00-01", "029***01"),
        ("29 000 00 01,", "290***01,"),
        ("9000000001.5", "900***01.5"),
        ("at 2026-11-21 17:05:06.123", "at 2026-11-21 17:05:06.123"),
        ("2026-11-20T08:00", "2026-11-20T08:00"),
        ("127.0.0.1:5038, 10.20.30.40", "127.0.0.1:5038, 10.20.30.40"),
        ("after 5 10 20 30 s", "after 5 10 20 30 s"),
        ("linkedid 1795165024.84", "linkedid 1795165024.84"),
        ("pbx1-1795165024.84~2", "pbx1-1795165024.84~2"),
        ("line 0001701, extension 151", "line 0001701, extension 151"),
        ("chat -1001000000001", "chat -1001000000001"),
        ("12345678 ms", "12345678 ms"),
    ],
)
def test_phones_are_masked_and_ids_of_calls_are_not(text: str, expected: str) -> None:
    assert message(text) == expected


def test_phones_are_masked_in_numbers_and_extra_fields_too() -> None:
    stream = written()
    logger.info("from %d", 375290000001, extra={"phone": 375290000001})

    record = json.loads(stream.getvalue())

    assert (record["message"], record["phone"]) == ("from 375***01", "375***01")


def test_phones_are_shown_at_debug_and_where_masking_is_off() -> None:
    assert message("+375290000001", level=logging.DEBUG) == "+375290000001"
    assert message("+375290000001", mask_phones=False) == "+375290000001"


def test_known_secrets_are_never_written_even_at_debug() -> None:
    url = "https://api.telegram.org/bot77:quiet-token/getMe"

    assert message(url, level=logging.DEBUG, secrets=["77:quiet-token", "77:quiet", "bot"]) == (
        "https://api.telegram.org/bot***/getMe"
    )


def test_a_secret_is_known_in_an_address_in_quoted_text_and_in_an_exception() -> None:
    secret = 'p@ss/"wo rd"\\1'
    shown = written(secrets=[secret])
    for form in (quote(secret, safe=""), quote_plus(secret), json.dumps(secret), repr(secret)):
        logger.info("GET /?key=%s", form)
    try:
        raise RuntimeError(f"refused {secret}")
    except RuntimeError:
        logger.exception("The key %r is refused", secret)

    assert shown.getvalue().count("***") == 6
    assert "p@ss" not in shown.getvalue()
    assert "p%40ss" not in shown.getvalue()


async def test_tokens_bought_while_running_are_hidden_from_then_on(tmp_path: Path) -> None:
    async def sell(_: str) -> Tokens:
        return Tokens(access="access-token", refresh="refresh-token")

    stream = written(secrets=["first-token"])
    await TokenKeeper(tmp_path / "crm.json", first="first-token", refresh=sell).access()
    logger.info("first-token access-token refresh-token")

    assert json.loads(stream.getvalue().splitlines()[-1])["message"] == "*** *** ***"


def test_the_level_changes_while_running() -> None:
    stream = written(level="info")
    logger.debug("hidden")
    log.set_level("debug")
    logger.debug("shown")
    log.set_level("error")
    logger.warning("hidden")

    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["shown"]


def test_chatty_libraries_speak_only_when_something_is_wrong() -> None:
    stream = written(level="info")
    logging.getLogger("aiogram.event").info("Update id=1 is handled")
    logging.getLogger("aiogram.event").warning("Telegram is away")

    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["Telegram is away"]


def test_warnings_of_python_become_records() -> None:
    stream = written()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    assert "DeprecationWarning: old" in json.loads(stream.getvalue())["message"]


def test_a_record_with_wrong_arguments_keeps_its_words() -> None:
    stream = written()
    logger.info("took %d ms", "long")

    assert json.loads(stream.getvalue())["message"] == "took %d ms ('long',)"


def test_setting_up_twice_writes_once() -> None:
    written()
    stream = written()
    logger.info("once")

    assert stream.getvalue().count("once") == 1
