"""A real agent of the package fence-agents, where that is installed: what we believe of them all holds."""

import asyncio
from pathlib import Path

import pytest

from quorate.database.fence_records import FenceAgent
from quorate.engine.fence_agents import AGENTS_DIRECTORY, Answer, FenceAgents

DUMMY = "fence_dummy"


@pytest.mark.skipif(not (AGENTS_DIRECTORY / DUMMY).exists(), reason="fence-agents are not installed")
def test_a_real_agent_is_spoken_with(tmp_path: Path) -> None:
    agents = FenceAgents()
    agent = FenceAgent(DUMMY, {"type": "file", "status_file": str(tmp_path / "status")})
    agents.check(agent)

    async def main() -> None:
        (tmp_path / "status").write_text("on", encoding="utf-8")
        answers = [
            (await asked(agent)).answer
            for asked in (agents.monitor, agents.status, agents.power_off, agents.status, agents.power_off)
        ]
        assert answers == [Answer.DONE, Answer.ON, Answer.DONE, Answer.OFF, Answer.DONE]
        assert (await agents.power_off(FenceAgent(DUMMY, dict(agent.options), action="reboot"))).answer is Answer.DONE
        assert (await agents.status(agent)).answer is Answer.ON
        said = await agents.power_off(FenceAgent(DUMMY, {"type": "fail", "power_timeout": "1"}))
        assert said.answer is Answer.FAILED
        assert "Timed out waiting to power OFF" in said.sentence

    asyncio.run(main())
