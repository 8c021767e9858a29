"""Rolls of dynamic axes: which need no arithmetic at run time."""

from translating import All, compare, operators, translate

TEXTS = ("x:2,h=2..5..9,w=2..7..9",)


def along_one_of_two_axes(x):
    return x.roll((0, 1), (1, 2)), x.roll((-2, 0), (1, 2)), x.roll((0, 0), (2, 1)) + 1, x.roll(0, 2)


def test_an_axis_that_is_not_shifted_is_left_out() -> None:
    module = All(along_one_of_two_axes)
    model, specs = translate(module, TEXTS)
    assert not {"Mod", "Shape"} & operators(model).keys()
    compare(module, model, specs)


def test_shifts_that_may_exceed_the_size_are_taken_modulo() -> None:
    module = All(lambda x: x.roll((0, 3), (1, 2)))
    model, specs = translate(module, TEXTS)
    assert operators(model)["Mod"]
    compare(module, model, specs)


def by_what_depends_on_the_size(x):
    most = x.shape[1] - 1
    return x.roll(most, 1), x.roll(-most, 1), x.roll((-most, x.shape[2]), (1, -1))


def test_shifts_either_way_by_an_expression_of_the_size_are_slices() -> None:
    module = All(by_what_depends_on_the_size)
    model, specs = translate(module, TEXTS)
    assert "Mod" not in operators(model)
    compare(module, model, specs)
