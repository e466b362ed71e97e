from __future__ import annotations

import logging

import pytest

from cipherlog_core import Settings
from cipherlog_core.reading import Choice


@pytest.fixture(autouse=True)
def fresh_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cipherlog_core._settings.notice._seen", set())


def test_defaults() -> None:
    """An empty environment gives the documented defaults."""
    expected = Settings(
        level="INFO",
        json=True,
        console=None,
        dir="logs",
        rotate_size=10_485_760,
        rotate_when=None,
        backups=5,
        gzip=True,
        gzip_after=30,
        queue_max=8192,
        queue_block_ms=200,
        sample_http=1,
        spool_dir=None,
        fsync_ms=0,
        file_mode="0600",
    )

    assert Settings.from_env({}) == expected


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("LOG_LEVEL", "debug", "level", "DEBUG"),
        ("LOG_LEVEL", "warn", "level", "WARNING"),
        ("LOG_LEVEL", "30", "level", "WARNING"),
        ("LOG_DIR", "/var/log/app", "dir", "/var/log/app"),
        ("LOG_DIR", "~/logs", "dir", "/home/me/logs"),
        ("LOG_ROTATE_SIZE", "65536", "rotate_size", 65536),
        ("LOG_ROTATE_SIZE", "1_485_760", "rotate_size", 1_485_760),
        ("LOG_ROTATE_SIZE", "10MB", "rotate_size", 10_485_760),
        ("LOG_ROTATE_SIZE", "64 KiB", "rotate_size", 65536),
        ("LOG_ROTATE_SIZE", "1g", "rotate_size", 1 << 30),
        ("LOG_ROTATE_SIZE", "0", "rotate_size", 0),
        ("LOG_QUEUE_MAX", " 100 ", "queue_max", 100),
        ("LOG_JSON", "False", "json", False),
        ("LOG_JSON", "yes", "json", True),
        ("LOG_CONSOLE", "STDERR", "console", "stderr"),
        ("LOG_CONSOLE", "off", "console", None),
        ("LOG_ROTATE_WHEN", "midnight", "rotate_when", "midnight"),
        ("LOG_BACKUPS", "0", "backups", 0),
        ("LOG_GZIP", "0", "gzip", False),
        ("LOG_GZIP_AFTER", "0.5", "gzip_after", 0.5),
        ("LOG_SAMPLE_HTTP", "10", "sample_http", 10),
        ("LOG_SPOOL_DIR", "/var/spool/app", "spool_dir", "/var/spool/app"),
        ("LOG_SPOOL_DIR", "~", "spool_dir", "/home/me"),
        ("LOG_QUEUE_BLOCK_MS", "0", "queue_block_ms", 0),
        ("LOG_FSYNC_MS", "1000", "fsync_ms", 1000),
        ("LOG_FILE_MODE", "640", "file_mode", "640"),
    ],
)
def test_environment(variable: str, text: str, field: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable sets the field of its name."""
    monkeypatch.setenv("HOME", "/home/me")
    assert getattr(Settings.from_env({variable: text}), field) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("LOG_LEVEL", "loud"),
        ("LOG_ROTATE_SIZE", "-1"),
        ("LOG_ROTATE_SIZE", "1e3"),
        ("LOG_ROTATE_SIZE", "MB"),
        ("LOG_ROTATE_SIZE", "9" * 30),
        ("LOG_JSON", "maybe"),
        ("LOG_CONSOLE", "printer"),
        ("LOG_ROTATE_WHEN", "weekly"),
        ("LOG_BACKUPS", "-1"),
        ("LOG_BACKUPS", "9" * 5000),
        ("LOG_GZIP_AFTER", "nan"),
        ("LOG_GZIP_AFTER", "-1"),
        ("LOG_SAMPLE_HTTP", "0"),
        ("LOG_QUEUE_MAX", "0"),
        ("LOG_QUEUE_MAX", "many"),
        ("LOG_QUEUE_BLOCK_MS", "0.5"),
        ("LOG_FSYNC_MS", "-1"),
        ("LOG_FILE_MODE", "0400"),
        ("LOG_FILE_MODE", "0755"),
        ("LOG_FILE_MODE", "0666"),
    ],
)
def test_a_bad_value_is_told_once_and_the_default_used(
    variable: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Garbage in the environment never raises: one notice that names variable, value and default."""
    settings = [Settings.from_env({variable: text}) for _ in range(2)]

    assert settings == [Settings(), Settings()]
    (record,) = caplog.records
    default = getattr(Settings(), variable.removeprefix("LOG_").lower())
    assert (record.name, record.levelno) == ("cipherlog_core", logging.WARNING)
    assert all(part in record.getMessage() for part in (variable, repr(text), repr(default)))


@pytest.mark.parametrize(
    ("variable", "text", "takes"),
    [
        ("LOG_BACKUPS", "-3", "a whole number from 0 to 1048576"),
        ("LOG_SAMPLE_HTTP", "0", "a whole number from 1 to 1073741824"),
        ("LOG_GZIP_AFTER", "soon", "a number from 0 to 1073741824"),
        ("LOG_ROTATE_SIZE", "big", "bytes (10485760, 10MB, 64 KiB) from 0 to 1125899906842624"),
        ("LOG_OTLP_ENDPOINT", "foo", "a base URL, as http://collector:4318"),
    ],
)
def test_what_a_variable_takes_is_told(variable: str, text: str, takes: str, caplog: pytest.LogCaptureFixture) -> None:
    """In words, from the type of its field, and not how the text failed to be of that type."""
    default = getattr(Settings.from_env({variable: text}), variable.removeprefix("LOG_").lower())

    told = f"{variable}={text!r} cannot be used; it takes {takes}. {default!r} is used instead."
    assert [record.getMessage() for record in caplog.records] == [told]


@pytest.mark.parametrize(
    ("variable", "count"),
    [("LOG_LEVEL", 5), ("LOG_JSON", 8), ("LOG_CONSOLE", 3), ("LOG_ROTATE_WHEN", 3), ("LOG_FILE_MODE", 6)],
)
def test_each_value_that_is_told_can_be_used(variable: str, count: int, caplog: pytest.LogCaptureFixture) -> None:
    """Where they are few, all are told."""
    Settings.from_env({variable: "blah"})
    values = caplog.messages[0].partition("it takes ")[2].partition(".")[0].split(", ")

    assert len(values) == count
    assert [choice.trouble for value in values for choice in Choice.all_in({variable: value}) if choice.trouble] == []


def test_an_empty_value_is_no_value(caplog: pytest.LogCaptureFixture) -> None:
    """A variable that is set to nothing means its default, without a notice."""
    assert Settings.from_env({"LOG_LEVEL": "", "LOG_ROTATE_SIZE": "  "}) == Settings()
    assert not caplog.records


def test_what_code_passes_wins() -> None:
    """Arguments come before the environment."""
    assert Settings.from_env({"LOG_LEVEL": "ERROR"}, level="DEBUG").level == "DEBUG"


@pytest.mark.parametrize(
    ("field", "value"),
    [("level", "loud"), ("rotate_size", -1), ("queue_max", "8"), ("dir", ""), ("json", 1), ("on_segment_closed", "x")],
)
def test_a_bad_argument_raises_and_names_the_field(field: str, value: object) -> None:
    """Code that passes nonsense is told at once, and where."""
    with pytest.raises(ValueError, match=f"Settings.{field}: "):
        Settings(**{field: value})
