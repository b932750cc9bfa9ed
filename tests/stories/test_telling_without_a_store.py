"""People are told while the disk is full, and what they were told is known once there is room again."""

import json
from collections import Counter

import pytest

from tests.receivers import receiving
from tests.stories.test_store_disasters import at_ease, fill, in_trouble, mounted, needs_root
from tests.stories.test_telling import RUNAWAY, configure, notices
from tests.stories.test_the_daemon import House, stop, wait_until


@pytest.fixture
def scenario(tmp_path):
    return tmp_path / "scenario.yaml"


@needs_root
def test_growth_is_told_while_the_disk_is_full_and_never_again_once_there_is_room(tmp_path, scenario):
    house = House(tmp_path, {})
    place = tmp_path / "disk"
    place.mkdir()
    house.store = place / "history.db"
    scenario.write_text(RUNAWAY)
    with receiving() as receiver, mounted(place, "-t", "tmpfs", "-o", "size=16m", "tmpfs"):
        configure(house, scenario, {"hook": {"webhook": {"url": receiver.url}}})

        def subjects(notice="opened"):
            return {
                item["subject"]["kind"]
                for request in list(receiver.got)
                for item in request.json["incidents"]
                if item["notice"] == notice
            }

        with house.running() as daemon:
            house.until_ready()
            fill(place / "ballast")
            in_trouble(house)
            wait_until(lambda: subjects() == {"owner", "vramwatch"}, "both are told")
            status, body = house.health()
            assert status == 200
            assert "full" in body["store"]
            for asked in (house.say("doctor"), house.say("status")):
                assert "full" in asked.stdout + asked.stderr
            (place / "ballast").unlink()
            at_ease(house)
            wait_until(lambda: "vramwatch" in subjects("resolved"), "that there is room again is told")
            stop(daemon)
        heard = notices(receiver)
        told = Counter((incident, notice) for _, incident, notice, _ in heard)
        assert set(told.values()) == {1}
        assert {key for key, *_ in heard} == {
            step["delivery"]["key"]
            for incident in {incident for incident, _ in told}
            for step in json.loads(house.say("why", incident, "--format", "json").stdout)["steps"]
            if step["delivery"] and step["delivery"]["outcome"] == "delivered"
        }
