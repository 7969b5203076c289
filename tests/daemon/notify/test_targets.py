"""Nothing that is shown of a URL is a secret."""

import sys

import pytest

from rekindle.daemon import extras
from rekindle.daemon.config import Notify
from rekindle.daemon.notify import sender, targets

URLS = [
    ("mailto://ana:p4ssw0rd@example.org?to=a@b.example", ["p4ssw0rd"], "mailto://example.org/****"),
    ("tgram://123456789:AAbbCCdd/987654321", ["AAbbCCdd", "987654321"], "tgram://****/****"),
    ("slack://TokenA12/TokenB34/TokenC56", ["TokenA12", "TokenB34"], "slack://****/****"),
    (
        "jsons://u:pa%2Fss@h.example/x?key=abcdef99",
        ["pa%2Fss", "pa/ss", "abcdef99"],
        "jsons://h.example/****",
    ),
    ("https://hc-ping.com/12345678-aaaa", ["12345678-aaaa"], "https://hc-ping.com/****"),
    ("nonsense", [], "****"),
]


@pytest.mark.parametrize(("url", "secrets", "shown"), URLS)
def test_secrets_are_masked(url: str, secrets: list[str], shown: str) -> None:
    assert targets.masked_url(url) == shown
    said = f"cannot reach {url}: {' '.join(secrets)} refused"
    hidden = targets.mask(said, url)
    assert not [secret for secret in secrets if secret in hidden]
    assert "refused" in hidden


def test_settings_show_no_url() -> None:
    settings = Notify(urls=(URLS[0][0],), ping=URLS[4][0])
    assert "p4ssw0rd" not in repr(settings)
    assert "12345678" not in repr(settings)
    assert "p4ssw0rd" not in targets.of(settings)[0].id


def test_urls_come_from_a_file_too(tmp_path: "pytest.TempPathFactory") -> None:
    file = tmp_path / "urls"  # type: ignore[operator]
    file.write_text("# mine\n\njson://a.example\njson://b.example\n")
    settings = Notify(urls=("json://a.example",), urls_file=str(file), command=("/bin/cat",))
    assert [one.url for one in targets.of(settings)] == ["json://a.example", "json://b.example", ""]
    with pytest.raises(targets.Unreadable, match="nowhere"):
        targets.of(Notify(urls_file="/nowhere/urls"))


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(extras.ExtraMissing) as missing:
        sender._notify("json://a.example", {})
    assert "the extra `notify`" in missing.value.what
    assert "pip install apprise" in missing.value.hint
