"""`TURNOUT_BUDGET_MONTHLY_USD` is read exactly, or refused."""

import pytest

from turnout.settings import Settings, SettingsError


@pytest.mark.parametrize(
    ("text", "nano_usd"),
    [
        ("", None),
        ("100", 100_000_000_000),
        ("99.50", 99_500_000_000),
        ("0.000000001", 1),
        (" 5. ", 5_000_000_000),
        ("999999999.999999999", 999_999_999_999_999_999),
    ],
)
def test_an_amount_is_read_to_the_last_decimal(text: str, nano_usd: int | None) -> None:
    read = Settings.load({"TURNOUT_BUDGET_MONTHLY_USD": text}, policy="x")
    assert read.monthly_nano_usd == nano_usd


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "0.0",
        "-1",
        "+1",
        "$5",
        "5/month",
        "1e3",
        "nan",
        "5,0",
        ".5",
        "0.0000000001",
        "1" * 10,
        "\uff15",
    ],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"TURNOUT_BUDGET_MONTHLY_USD.*US dollars above 0"):
        Settings.load({"TURNOUT_BUDGET_MONTHLY_USD": text}, policy="x")
