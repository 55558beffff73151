"""A well-known AMI client that is not ours understands the PBX simulator."""

import asyncio

import panoramisk

from vochi_agent.simulator.pbx import Pbx, User

TRUNK = "PJSIP/gsm1"


async def test_panoramisk_reads_a_call_and_its_actions_are_answered() -> None:
    events: list[tuple[str, str]] = []
    over = asyncio.Event()

    async with (
        asyncio.timeout(20),
        Pbx(phones={"151": "Анна"}, trunks=[TRUNK], users={"vochi": User(secret="s3cret")}, speed=50.0) as pbx,
    ):
        manager = panoramisk.Manager(host="127.0.0.1", port=pbx.manager.port, username="vochi", secret="s3cret")

        @manager.register_event("*")
        def keep(_manager: object, message: panoramisk.message.Message) -> None:
            events.append((message.event, message.channel or ""))
            if sum(event == "Hangup" for event, _ in events) == 2:
                over.set()

        await manager.connect()
        try:
            pong = await manager.send_action({"Action": "Ping"})
            await manager.send_action({"Action": "Setvar", "Variable": "VOCHI_ALIVE_a", "Value": "1"})
            listed = await manager.send_action({"Action": "CoreShowChannels"}, as_list=True)
            await pbx.inbound(trunk=TRUNK, did="0001701", caller="375290000022", ring=["151"], answer="151")
            await over.wait()
        finally:
            manager.close()

    assert pong.response == "Success"
    assert pbx.switch.variables == {"VOCHI_ALIVE_a": "1"}
    assert [message.event for message in listed if message.event] == ["CoreShowChannelsComplete"]
    kinds = [event for event, _ in events]
    assert kinds.count("Newchannel") == 2
    assert kinds.index("DialBegin") < kinds.index("BridgeEnter") < kinds.index("Hangup")
