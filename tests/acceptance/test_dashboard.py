"""monitoring/grafana.json over a real Prometheus that scrapes a real daemon through a played day, and its pictures."""

import asyncio
import re
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.dashboard import FIRST_SCREEN, WHOLE, answers, first_screen, panels
from tests.support.plots import Panel, draw
from tests.support.polling import until
from tests.support.postgres import PostgresServer
from tests.support.required import require
from tests.support.working_day import working_day


async def test_every_question_of_the_dashboard_has_an_answer(tmp_path: Path, postgres: PostgresServer) -> None:
    """Within a day that is played at fifteen times the speed of life; it is left as soon as all of them have one."""
    begin, unanswered = time.time(), [panel for panel in panels() if panel.questions]
    async with (
        working_day(tmp_path, postgres, require("prometheus")) as day,
        asyncio.TaskGroup() as tasks,
    ):
        playing = tasks.create_task(day.play(speed=15), name="the day")

        async def has_answers() -> bool:
            for panel in tuple(unanswered):
                if all(await answers(day.prometheus, panel, begin=begin, end=time.time())):
                    unanswered.remove(panel)
            return not unanswered or playing.done()

        await until(has_answers, within=90)
        playing.cancel()

    assert [panel.title for panel in unanswered] == []


def titles(drawn: str) -> set[str]:
    """The names of panels and rows with their places."""
    return set(re.findall(r'<text [^>]*font-size="1[34]"[^>]*font-weight="600"[^>]*>[^<]*</text>', drawn))


@pytest.mark.parametrize(("picture", "shown"), [(FIRST_SCREEN, first_screen()), (WHOLE, panels())])
def test_a_picture_shows_the_panels_that_the_file_has_where_it_has_them(picture: Path, shown: Sequence[Panel]) -> None:
    drawn = picture.read_text(encoding="utf-8")

    assert titles(drawn) == titles(draw(dict.fromkeys(shown, ()), begin=0, end=300)), (
        "python -m tests.support.dashboard"
    )
    assert "no data" not in drawn
