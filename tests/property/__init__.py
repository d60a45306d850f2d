import pytest

pytest.register_assert_rewrite("tests.property.machine")  # it says what differs
