"""What others shipped is found: a follower that is led past events, and one that is given some twice."""

import pytest

from tests.faults.broken_logs import OverlappingLog, SequenceLog
from tests.faults.subscribers import misled

SEEDS = range(20)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_position_that_is_handed_out_before_its_commit_is_skipped_as_in_marten_1629_and_4952(seed):
    assert any("skipped" in complaint for complaint in await misled(SequenceLog, seed))


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_commits_while_replay_goes_over_into_live_comes_twice_as_in_restate_5375(seed):
    assert any("again" in complaint for complaint in await misled(OverlappingLog, seed))
