"""Tests of a program that sends mail, with smtpserve as its server.

    pytest examples/test_mail.py
    python3 examples/test_mail.py       # without pytest
"""

import contextlib
import json
import smtplib
import subprocess
from email.message import EmailMessage


class MailLab:
    """A running smtpserve: `port` while the program under test runs, `messages` afterwards."""

    def __init__(self, port):
        self.port = port
        self.messages = []


@contextlib.contextmanager
def mail_lab(expect, *options):
    """A server on a free port that ends after `expect` messages; fails the test if fewer come."""
    command = ["smtpserve", "-q", "--json", "--listen", "127.0.0.1:0", "--capture", "-"]
    command += ["--expect", str(expect), "--max-time", "30", *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        lab = MailLab(json.loads(server.stdout.readline())["port"])
        yield lab
        records = [json.loads(line) for line in server.communicate()[0].splitlines()]
        lab.messages = [record for record in records if record["type"] == "message"]
        assert server.returncode == 0, f"{len(lab.messages)} of {expect} messages came"
    finally:
        server.kill()
        server.wait()


def sign_up(port, address, attempts=1):
    """The program under test: asks a new user for confirmation."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "app@example.test", address, "Grüße"
    mail.set_content("Please confirm: https://app.example/confirm?token=4711.")
    mail.add_alternative('<a href="https://app.example/confirm?token=4711">confirm</a>', subtype="html")
    with smtplib.SMTP("127.0.0.1", port) as server:
        server.login("app", "any password will do")
        for attempt in range(attempts):
            try:
                server.send_message(mail)
                return
            except smtplib.SMTPRecipientsRefused:
                if attempt + 1 == attempts:
                    raise


def test_a_new_user_gets_a_link():
    with mail_lab(1) as lab:
        sign_up(lab.port, "bob@example.test")
    (mail,) = lab.messages
    assert mail["recipients"] == ["bob@example.test"]
    assert mail["user"] == "app"
    assert mail["subject"] == "Grüße"
    assert mail["links"] == ["https://app.example/confirm?token=4711"]
    assert "Please confirm" in mail["text"]
    assert [part["content_type"] for part in mail["parts"]] == ["text/plain", "text/html"]


def test_greylisting_is_survived():
    with mail_lab(1, "--fail", "rcpt,code=451,text=4.7.1 come again,times=2") as lab:
        sign_up(lab.port, "bob@example.test", attempts=3)
    assert len(lab.messages) == 1


def test_an_unknown_user_is_reported():
    with mail_lab(1, "--fail", "rcpt=bob@*,code=550,text=5.1.1 no such user") as lab:
        try:
            sign_up(lab.port, "bob@example.test")
            raise AssertionError("nobody heard of the refusal")
        except smtplib.SMTPRecipientsRefused as refused:
            assert refused.recipients["bob@example.test"][0] == 550
        sign_up(lab.port, "eve@example.test")


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print(f"{name}: passed")
