"""A real daemon notifies real servers: once, in one message, and never by waiting for them.

Kinds of source: a webhook that hangs and takes the supervisor with it; a mail for each of five
hundred retries; a token in a log; a job that failed at 2 am and was seen at 9.
"""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from receivers import Mail, Web
from rig import Rig, wait_for

pytest.importorskip("apprise", reason="the extra `notify` is not installed")


@pytest.fixture
def mail() -> Iterator[Mail]:
    with Mail() as server:
        yield server


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        yield server


def configure(rig: Rig, *lines: str) -> None:
    """Write the settings; the disk of the host that runs the tests may be full enough."""
    keys = {"batch": '"1s"', "disk_free": '"1%"'}
    for line in lines:
        key, _, value = line.partition(" = ")
        keys[key] = value
    text = "\n".join(f"{key} = {value}" for key, value in keys.items())
    rig.home.config.write_text(f"[notify]\n{text}\n")


def job(rig: Rig, name: str, *command: str) -> None:
    words = json.dumps(list(command))
    text = f'command = {words}\nworkdir = "/"\nretry = {{ max_failures = 1 }}\n'
    rig.drop(text, f"{name}.toml")


@pytest.mark.slow(8)
def test_one_message_says_what_the_night_was(rig: Rig, mail: Mail, web: Web) -> None:
    """By SMTP and HTTP, what needs a person first; secrets are nowhere."""
    configure(rig, f'urls = ["{mail.url}", "{web.url}"]', 'batch = "5s"')
    job(rig, "fine", "true")
    job(rig, "bad", "sh", "-c", "exit 3")
    rig.drop("nonsense = 1\n", "wrong.toml")
    assert rig.start("--until-idle").wait(120) == 0
    assert len(web.posts) == len(mail.got) == 1
    post = web.posts[0]
    assert post["title"].endswith("1 held, 1 refused, 1 done")
    body = post["message"]
    headline, _, *lines = body.splitlines()
    assert headline.startswith("Since 18:00: 1 done, 1 held, ")
    assert lines[0] == "Needs you"
    assert lines[1].startswith("- bad-1 held: ")
    assert lines[2].startswith("  $ rekindle release bad-1")
    assert any(line.startswith("- wrong.toml refused: There is no key") for line in lines)
    assert lines[-1].startswith("- fine-1 done: ")
    assert mail.got[0]["Subject"] == post["title"]
    assert "bad-1 held" in mail.text(0)
    for secret in ("s3cretpass", "tokenABCDEF123"):
        assert secret not in rig.log.read_text()
        assert secret not in rig.home.notify.read_text()
        with sqlite3.connect(rig.home.ledger) as ledger:
            assert secret not in "".join(ledger.iterdump())
    # the next daemon repeats nothing
    job(rig, "more", "true")
    assert rig.start("--until-idle").wait(60) == 0
    assert len(web.posts) == 2
    assert web.posts[1]["title"].endswith("1 done")
    assert "bad-1" not in web.posts[1]["message"]


@pytest.mark.slow(15)
def test_a_job_that_is_done_says_what_it_reached(rig: Rig, web: Web, tmp_path: Path) -> None:
    """Its best metric, against the last run of that name."""
    configure(rig, f'urls = ["{web.url}"]')
    script = tmp_path / "plain.py"
    for number in (1, 2):
        script.write_text(
            "from rekindle.jobs import resumable\n"
            "loop = resumable(state={'seen': []})\n"
            "for epoch in loop.epochs(3):\n"
            "    for batch in loop.batches(range(4)):\n"
            "        pass\n"
            f"    loop.log(loss={number} - epoch / 4)\n"
        )
        rig.drop(f'script = "{script}"\n', "plain.toml")
        assert rig.start("--until-idle").wait(120) == 0
    assert "- plain-1 done: best loss 0.5000 in epoch 3." in web.posts[0]["message"]
    assert "best loss 1.5000 in epoch 3; plain-1 had 0.5000 (worse)" in web.posts[1]["message"]
    assert "$ rekindle export plain-1 --to plain-1.keras" in web.posts[0]["message"]


@pytest.mark.slow(10)
def test_a_server_that_hangs_holds_nothing_up(rig: Rig, web: Web) -> None:
    """The loop is watched by the rig; the job behind it runs, and the message arrives."""
    configure(rig, f'urls = ["{web.url}"]')
    web.go.clear()
    rig.start()
    job(rig, "a", "true")
    rig.wait_state("a-1", "done")
    wait_for(lambda: "messages" in outbox(rig) and outbox(rig)["messages"], "a message waits")
    job(rig, "b", "true")
    rig.wait_state("b-1", "done")
    web.go.set()
    wait_for(lambda: any("b-1" in post["message"] for post in web.posts), "b-1 is reported")
    assert rig.end() == 0


def outbox(rig: Rig) -> dict[str, list[object]]:
    try:
        found: dict[str, list[object]] = json.loads(rig.home.notify.read_text())
    except FileNotFoundError:
        return {}
    return found


@pytest.mark.slow(14)
def test_what_was_not_delivered_is_tried_again_by_the_next_daemon(
    rig: Rig, web: Web, mail: Mail
) -> None:
    """Only to the target that does not have it; why it failed is in log and ledger."""
    configure(rig, f'urls = ["{mail.url}", "{web.url}"]')
    web.status = 503
    rig.start()
    job(rig, "a", "true")
    wait_for(lambda: "notification_failed" in rig.log.read_text(), "the failure is logged")
    assert len(mail.got) == 1
    rig.end()
    (message,) = outbox(rig)["messages"]
    assert isinstance(message, dict)
    assert message["tries"] == 1
    assert "503" in message["error"]
    with sqlite3.connect(rig.home.ledger) as ledger:
        rows = ledger.execute("SELECT data FROM events WHERE kind = 'notification_failed'")
        (data,) = [json.loads(row[0]) for row in rows]
    assert data["target"] == f"json://127.0.0.1:{web.port}/****"
    web.status = 200
    text = json.loads(rig.home.notify.read_text())
    text["messages"][0]["next_at"] = 0.0
    rig.home.notify.write_text(json.dumps(text))
    rig.start()
    wait_for(lambda: web.posts, "it arrives")
    wait_for(lambda: not outbox(rig)["messages"], "it is settled")
    assert rig.end() == 0
    assert (len(mail.got), len(web.posts)) == (1, 1)


def test_a_command_gets_the_message_as_json(rig: Rig, tmp_path: Path) -> None:
    """Without apprise; of the kinds that are wanted only."""
    said = tmp_path / "said"
    tell = tmp_path / "tell"
    tell.write_text(f"#!/bin/sh\ncat >> {said}\n")
    tell.chmod(0o755)
    configure(rig, f'command = ["{tell}"]', 'on = ["held", "failed"]')
    job(rig, "fine", "true")
    job(rig, "bad", "sh", "-c", "exit 3")
    assert rig.start("--until-idle").wait(60) == 0
    (line,) = said.read_text().splitlines()
    value = json.loads(line)
    assert value["format"] == 1
    assert value["home"] == str(rig.home.root)
    assert [one["about"] for one in value["notices"]] == ["bad-1"]
    assert value["notices"][0].keys() == {"kind", "about", "text", "command", "at"}
    assert value.keys() == {
        *("format", "host", "home", "title", "headline", "text", "notices", "left_out")
    }


@pytest.mark.slow(8)
def test_what_a_person_asked_for_has_no_notice(rig: Rig, web: Web) -> None:
    """`rekindle stop`, of a job that runs and of one that waits, and `cancel`."""
    configure(rig, f'urls = ["{web.url}"]')
    rig.start()
    for name in ("a", "b", "c"):
        job(rig, name, "sleep", "600")
    rig.wait_state("a-1", "running")
    for words in (("stop", "b"), ("cancel", "c"), ("stop", "a")):
        rig.cli(*words)
    rig.wait_state("a-1", "held")
    # an event after these: all have been looked at when it has its notice
    job(rig, "last", "true")
    rig.wait_state("last-1", "done")
    wait_for(lambda: web.posts, "the last one has a notice")
    rig.end()
    assert [post["title"].rpartition(": ")[2] for post in web.posts] == ["1 done"]


@pytest.mark.slow(15)
def test_the_dead_man_is_called_once_a_day(rig: Rig, web: Web) -> None:
    """From `ping_at` on; a restart does not call again, a failure does."""
    configure(rig, f'ping = "http://127.0.0.1:{web.port}/ping/abcdef123"', 'ping_at = "00:00"')
    web.status = 500
    rig.start()
    wait_for(lambda: "ping_failed" in rig.log.read_text(), "a failure is logged")
    assert "abcdef123" not in rig.log.read_text()
    rig.end()
    text = outbox(rig)
    assert text["ping_tries"] == 1
    rig.home.notify.write_text(json.dumps({**text, "ping_at": 0.0}))
    web.status = 200
    rig.start()
    wait_for(lambda: "ping_sent" in rig.log.read_text(), "the ping is sent")
    wait_for(lambda: outbox(rig).get("pinged"), "it is noted")
    rig.end()
    count = len(web.gets)
    rig.start()
    job(rig, "a", "true")
    rig.wait_state("a-1", "done")
    rig.end()
    assert web.gets == ["/ping/abcdef123"] * count
    assert count == 2


def test_the_verb_says_what_became_of_a_test(rig: Rig, web: Web) -> None:
    configure(rig, f'urls = ["{web.url}", "tgram://bad"]', 'command = ["/bin/false"]')
    done = rig.call("notify")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == f"json://127.0.0.1:{web.port}/****: sent"
    assert lines[1].startswith("tgram://****/****: apprise does not know")
    assert lines[2] == "command: /bin/false ended with exit code 1: it printed no error"
    assert web.posts[0]["message"] == "Done\n- test done: This is a test."
    answer = json.loads(rig.cli("notify", "--json", code=1))
    assert [one["error"] is None for one in answer["results"]] == [True, False, False]
    rig.home.config.write_text("")
    assert "names no target" in rig.call("notify").stderr


@pytest.mark.slow(10)
def test_a_disk_that_fills_up_has_one_notice(rig: Rig, web: Web) -> None:
    configure(rig, f'urls = ["{web.url}"]', 'disk_free = "100%"')
    rig.start()
    wait_for(lambda: web.posts, "the notice arrives")
    assert "The disk of the home is filling up: " in web.posts[0]["message"]
    assert "$ rekindle prune" in web.posts[0]["message"]
    rig.end()
    job(rig, "a", "true")
    assert rig.start("--until-idle").wait(60) == 0
    assert "disk" not in web.posts[1]["message"]


def test_doctor_names_the_targets_and_what_is_wrong_with_them(rig: Rig, web: Web) -> None:
    """Without sending anything."""

    def found() -> list[tuple[str, str]]:
        answer = json.loads(rig.cli("doctor", "--no-imports", "--json", code=None))
        return [
            (one["severity"], one["what"])
            for one in answer["findings"]
            if one["check"] == "notifications"
        ]

    assert found() == []
    configure(rig, f'urls = ["{web.url}"]')
    named = f"json://127.0.0.1:{web.port}/****"
    rig.home.root.chmod(0o755)
    rig.home.config.chmod(0o644)
    warned = f"Other users may read {rig.home.config}, whose URLs may hold passwords."
    assert found()[0] == ("warning", warned)
    rig.home.config.chmod(0o640)
    assert found() == [("ok", f"Notifications go to {named}.")]
    configure(rig, 'urls_file = "/nowhere/urls"')
    assert found()[0][0] == "error"
    urls = rig.home.root / "urls"
    urls.write_text(f"{web.url}\n")
    urls.chmod(0o640)
    configure(rig, f'urls_file = "{urls}"')
    assert found()[0] == ("warning", f"Other users may read {urls}, whose URLs may hold passwords.")
    urls.chmod(0o600)
    assert found()[0][0] == "ok"
    assert not web.posts


@pytest.mark.slow(8)
def test_what_cannot_be_written_is_sent_all_the_same(rig: Rig, web: Web) -> None:
    """A full disk is worth a notice: here another error of the file system, once in the log."""
    configure(rig, f'urls = ["{web.url}"]')
    rig.home.notify.mkdir()
    for name in ("a", "b"):
        job(rig, name, "true")
    assert rig.start("--until-idle").wait(60) == 0
    assert "a-1 done" in "".join(post["message"] for post in web.posts)
    assert rig.log.read_text().count("notifications_not_written") == 1


def test_a_home_without_notifications_has_no_file(rig: Rig) -> None:
    job(rig, "a", "true")
    assert rig.start("--until-idle").wait(60) == 0
    assert not rig.home.notify.exists()
