from cacheproxy.domain.traffic import FIELDS, Traffic


def test_each_number_is_added_to_its_own() -> None:
    """The sum of two has each number of both, and none is forgotten or mistaken for another."""
    one = Traffic(*(10**index for index in range(len(FIELDS))))
    other = Traffic(*(2 * 10**index for index in range(len(FIELDS))))
    assert one + other == Traffic(*(3 * 10**index for index in range(len(FIELDS))))
