"""Mail over SMTP, to a server on loopback."""

import time
from itertools import pairwise

import pytest
from pydantic import ValidationError

from tests.mailboxes import mail_server
from tests.notices import KEY, MADE, digest, item, message, trial
from tests.receivers import certificate, receiving, tls_of
from vramwatch.core.messages import Host, plain
from vramwatch.core.outgoing import Delivered, Rejected, Retry
from vramwatch.core.policy import Notice
from vramwatch.notifiers.email import Email

TWO = ("oncall@example.com", "lab@example.com")


def notifier(server, **options):
    given = {
        "host": "127.0.0.1",
        "port": server.port,
        "tls": "none",
        "sender": "gpu@example.com",
        "to": TWO[:1],
    }
    return Email(**(given | {"timeout": "1s"} | options))


def deliver(told, server=None, **options):
    return notifier(server, **options).send(told, None)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("tls"))


def test_a_mail_says_from_whom_of_what_and_when_and_its_text_is_the_message():
    with mail_server() as server:
        outcome = deliver(message(), server)
    assert outcome == Delivered("127.0.0.1 took it for 1 of 1", f"<{KEY}@example.com>")
    (mail,) = server.mails
    assert (mail.sender, mail.to) == ("gpu@example.com", ["oncall@example.com"])
    parsed = mail.parsed
    assert parsed["Subject"].startswith("gpu7: CRITICAL chat on GPU 0: a leak")
    assert parsed["From"].addresses[0].display_name == "vramwatch on gpu7"
    assert parsed["To"] == "oncall@example.com"
    assert parsed["Date"].datetime.timestamp() == MADE
    assert parsed["Message-ID"] == f"<{KEY}@example.com>"
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert parsed["X-Vramwatch-Severity"] == "critical"
    assert parsed.get_content_type() == "text/plain"
    assert parsed.get_content().split() == plain(message()).split()
    assert "In-Reply-To" not in parsed


def test_all_that_follows_on_an_incident_is_one_thread():
    with mail_server() as server:
        first = deliver(message(), server).reference
        worse = message(item(notice=Notice.WORSE, reference=first), key="b" * 32)
        second = deliver(worse, server).reference
        deliver(message(item(notice=Notice.RESOLVED, reference=second), key="c" * 32), server)
    mails = [mail.parsed for mail in server.mails]
    assert [mail["In-Reply-To"] for mail in mails] == [None, first, first]
    assert [mail["References"] for mail in mails] == [None, first, first]
    assert len({mail["Message-ID"] for mail in mails}) == 3


def test_a_mail_about_several_threads_refers_to_each_and_begins_its_own():
    with mail_server() as server:
        told = message(item("a", reference="<1@x>"), item("b", reference="<2@x>"), item("c"))
        outcome = deliver(told, server)
    assert server.mails[0].parsed["References"] == "<1@x> <2@x>"
    assert outcome.reference == f"<{KEY}@example.com>"


@pytest.mark.parametrize("told", [trial(), digest()])
def test_tests_and_digests_are_mails_too(told):
    with mail_server() as server:
        assert isinstance(deliver(told, server), Delivered)
    assert told.text in server.mails[0].parsed.get_content()


def test_foreign_text_makes_no_header_no_recipient_and_no_command():
    evil = "gpu7\r\nBcc: victim@example.com\r\n\r\n.\r\nMAIL FROM:<x@example.com>\r\n"
    told = message(item(owner=f"rule:{evil}", scene=None), host=Host(evil))
    with mail_server() as server:
        deliver(told, server)
    (mail,) = server.mails
    assert mail.to == ["oncall@example.com"]
    assert mail.parsed["Bcc"] is None
    assert [line.split(" ")[0] for line in server.commands] == ["ehlo", "mail", "rcpt", "data", "quit"]


def test_names_in_any_script_and_lines_of_any_length_arrive():
    told = message(host=Host("größe-猫" * 15))
    with mail_server() as server:
        deliver(told, server)
    raw, parsed = server.mails[0].raw, server.mails[0].parsed
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998
    assert raw.isascii()
    assert parsed["Subject"].startswith("größe-猫")
    assert "größe-猫" in parsed.get_content()


def test_starttls_comes_before_the_password_and_the_mail(pair):
    options = {"tls": "starttls", "ca_file": str(pair[0]), "username": "gpu", "password": "hush hush"}
    with mail_server(starttls=tls_of(pair), login=("gpu", "hush hush")) as server:
        assert isinstance(deliver(message(), server, **options), Delivered)
    assert server.mails[0].is_encrypted
    assert server.credentials == ["hush hush"]
    verbs = [line.split(" ")[0] for line in server.commands]
    assert verbs == ["ehlo", "STARTTLS", "ehlo", "AUTH", "mail", "rcpt", "data", "quit"]


def test_implicit_tls_is_spoken_from_the_first_byte(pair):
    with mail_server(tls=tls_of(pair)) as server:
        outcome = deliver(message(), server, tls="implicit", ca_file=str(pair[0]))
    assert isinstance(outcome, Delivered)
    assert server.mails[0].is_encrypted


def test_where_the_server_offers_no_starttls_nothing_is_sent():
    with mail_server() as server:
        outcome = deliver(message(), server, tls="starttls", username="gpu", password="hush hush")
    assert isinstance(outcome, Rejected)
    assert "STARTTLS" in outcome.reason
    assert [line.split(" ")[0] for line in server.commands] == ["ehlo"]


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_certificate_that_nobody_vouches_for_is_refused_unless_the_configuration_says_so(tls, pair):
    context = tls_of(pair)
    options = {"starttls": context} if tls == "starttls" else {"tls": context}
    with mail_server(**options) as server:
        outcome = deliver(message(), server, tls=tls)
        assert outcome == Retry("TLS with 127.0.0.1 fails: self-signed certificate")
        assert server.mails == []
        assert isinstance(deliver(message(), server, tls=tls, verify_tls=False), Delivered)


def test_a_certificate_for_another_host_is_refused(tmp_path):
    other = certificate(tmp_path, "elsewhere.example")
    with mail_server(tls=tls_of(other)) as server:
        outcome = deliver(message(), server, tls="implicit", ca_file=str(other[0]))
    assert isinstance(outcome, Retry)
    assert "127.0.0.1" in outcome.reason


def test_a_wrong_password_is_told_without_the_password(pair):
    options = {"tls": "implicit", "ca_file": str(pair[0]), "username": "gpu", "password": "hush hush"}
    with mail_server(tls=tls_of(pair), login=("gpu", "other")) as server:
        outcome = deliver(message(), server, **options)
    assert outcome == Rejected("127.0.0.1: 535 5.7.8 *** is wrong: ***")


@pytest.mark.parametrize(
    ("command", "reply", "expected"),
    [
        ("GREETING", "421 too busy", Retry("127.0.0.1: 421 too busy")),
        ("GREETING", "554 go away", Rejected("127.0.0.1: 554 go away")),
        ("MAIL", "452 disk full", Retry("127.0.0.1: 452 disk full")),
        ("MAIL", "550 who are you", Rejected("127.0.0.1: 550 who are you")),
        ("RCPT", "450 greylisted", Retry("not taken yet: oncall@example.com: 450 greylisted")),
        ("RCPT", "what?", Retry("not taken yet: oncall@example.com: -1 ?")),
        ("RCPT", "550 no such user", Rejected("refused oncall@example.com: 550 no such user")),
        ("DATA", "451 not now", Retry("127.0.0.1: 451 not now", is_uncertain=True)),
        ("END", "451 try again", Retry("127.0.0.1: 451 try again")),
        ("END", "554 spam", Rejected("127.0.0.1: 554 spam")),
    ],
)
def test_what_the_server_says_no_to_for_now_is_tried_again_and_for_good_is_not(command, reply, expected):
    with mail_server(replies={command: reply}) as server:
        outcome = deliver(message(), server)
    assert type(outcome) is type(expected)
    assert outcome.reason == expected.reason


def test_who_is_refused_keeps_the_mail_from_nobody_else_and_is_named():
    with mail_server(replies={"RCPT": ["", "550 no such user"]}) as server:
        outcome = deliver(message(), server, to=TWO)
    assert server.mails[0].to == [TWO[0]]
    assert outcome.detail == "127.0.0.1 took it for 1 of 2; refused lab@example.com: 550 no such user"


def test_whoever_was_taken_gets_no_second_mail_when_the_others_are_tried_again():
    with mail_server(replies={"RCPT": ["", "450 greylisted"]}) as server:
        one = notifier(server, to=TWO)
        assert one.send(message(), None) == Retry("not taken yet: lab@example.com: 450 greylisted")
        outcome = one.send(message(), None)
    assert isinstance(outcome, Delivered)
    assert [mail.to for mail in server.mails] == [[TWO[0]], [TWO[1]]]


@pytest.mark.parametrize(
    ("replies", "is_uncertain"),
    [
        ({"EHLO": "close"}, False),
        ({"RCPT": "close"}, False),
        ({"END": "close"}, True),
        ({"MAIL": "hang"}, False),
    ],
)
def test_a_mail_may_have_arrived_once_it_was_on_its_way_alone(replies, is_uncertain):
    with mail_server(replies=replies) as server:
        outcome = deliver(message(), server)
    assert isinstance(outcome, Retry)
    assert outcome.is_uncertain is is_uncertain


def test_a_server_that_never_greets_or_that_drips_or_floods_costs_the_time_out():
    def drips(exchange):
        exchange.drip("220-" + "x" * 2000, 0.02)

    scripts = [
        lambda exchange: exchange.hang(),
        drips,
        lambda exchange: exchange.flood(b"220-hello\r\n" * 5000),
    ]
    began = [time.monotonic()]
    for script in scripts:
        with receiving(script, reads=False) as server:
            assert isinstance(deliver(message(), server), Retry)
        began.append(time.monotonic())
    assert max(after - before for before, after in pairwise(began)) < 4.0


def test_where_nobody_listens_it_is_tried_again_and_nothing_arrived():
    with mail_server() as server:
        pass
    assert deliver(message(), server) == Retry(f"127.0.0.1:{server.port}: Connection refused")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tls": "none", "username": "gpu", "password": "x"}, "for all to read"),
        ({"username": "gpu"}, "username and password"),
        ({"password": "x"}, "username and password"),
        ({"sender": "gpu"}, "mailbox"),
        ({"sender": "a@b.c\nBcc: d@e.f"}, "mailbox"),
        ({"to": ["a@b.c, d@e.f"]}, "mailbox"),
        ({"to": []}, "at least 1"),
        ({"host": "smtp.example.com:25"}, "no host"),
        ({"host": "https://smtp.example.com"}, "no host"),
        ({"tls": "off"}, "none"),
    ],
)
def test_options_that_cannot_work_are_refused(options, words):
    given = {"host": "smtp.example.com", "sender": "gpu@example.com", "to": ["a@example.com"]} | options
    with pytest.raises(ValidationError) as raised:
        Email(**given)
    assert words in raised.value.errors()[0]["msg"]
