"""Values are refused at the door, by name, whatever they are."""

import math

import pytest

from labkit import checks
from labkit.errors import UsageError


class Stubborn:
    def __repr__(self):
        raise RuntimeError("not even my name")


NONSENSE = [
    None,
    True,
    "",
    "x",
    b"x",
    [],
    {},
    math.nan,
    math.inf,
    -1,
    10**5000,
    Stubborn(),
    object,
    "\udc80" * 300,
]


@pytest.mark.parametrize(
    "check",
    [
        checks.text, checks.number, checks.seconds, checks.boolean, checks.mapping, checks.function,
        lambda what, value: checks.whole(what, value, 1, 5),
        lambda what, value: checks.one_of(what, value, ("a", "b")),
    ],
)  # fmt: skip
def test_a_value_is_given_back_as_it_was_or_refused_with_its_name(check):
    for value in NONSENSE:
        try:
            assert check("size", value) is value
        except UsageError as error:
            assert error.field == "size"
            assert error.what.startswith("size is ")
            error.what.encode()  # can be printed anywhere
            assert error.do.endswith(".")
            assert len(error.what) < 400


def test_a_prefetch_is_none_or_what_amqp_can_carry():
    assert (checks.prefetch(None), checks.prefetch(1), checks.prefetch(65535)) == (None, 1, 65535)
    for value in [*NONSENSE[1:], 0, 65536, 1.0]:
        with pytest.raises(UsageError) as caught:
            checks.prefetch(value)
        assert caught.value.field == "prefetch"


def test_workers_are_a_number_or_their_speeds():
    assert checks.workers(2) == [1.0, 1.0]
    assert checks.workers((1, 2.5)) == [1.0, 2.5]
    for value in [*NONSENSE, 0, 1001, [0], ["x"], [True]]:
        with pytest.raises(UsageError):
            checks.workers(value)


def test_limits_are_named_in_what_to_do():
    cases = [
        (lambda: checks.whole("n", 9, 1, 5), "Use a whole number from 1 to 5."),
        (lambda: checks.whole("n", 0, 1), "Use a whole number of at least 1."),
        (lambda: checks.whole("n", 1.5), "Use a whole number."),
        (lambda: checks.number("n", -1, unit="dots"), "Use 0 or more dots."),
        (lambda: checks.number("n", 0, above=0), "Use more than 0."),
        (lambda: checks.number("n", 9, most=5), "Use 0 to 5."),
    ]
    for refuse, do in cases:
        with pytest.raises(UsageError) as caught:
            refuse()
        assert caught.value.do == do
