import numpy as np

from welt_spacy.tagging.tags import (
    begin_tag,
    inside_tag,
    legal_transitions,
    orphans,
    split_tags,
    tag_names,
)


def test_names_and_indices_agree():
    names = tag_names(["Chemical", "Disease"])
    assert names == ["O", "B-Chemical", "I-Chemical", "B-Disease", "I-Disease"]
    assert names[begin_tag(1)] == "B-Disease"
    assert names[inside_tag(0)] == "I-Chemical"


def test_transitions_are_those_of_iob2():
    names = tag_names(["x", "y"])
    legal = legal_transitions(2)
    for i, previous in enumerate(names):
        for j, current in enumerate(names):
            expected = current[0] != "I" or previous in (
                "B" + current[1:],
                "I" + current[1:],
            )
            assert legal[i, j] == expected, (previous, current)


def test_split_tags_treats_missing_as_outside():
    begin, inside, label = split_tags(np.array([-1, 0, 1, 2, 3, 4]))
    assert begin.tolist() == [False, False, True, False, True, False]
    assert inside.tolist() == [False, False, False, True, False, True]
    assert label.tolist() == [-1, -1, 0, 0, 1, 1]


def test_orphans_do_not_look_across_sequences():
    #            |B I| I I|O I-x|B-x I-y|  (an empty sequence in between)
    tags = np.array([1, 2, 2, 2, 0, 2, 1, 4])
    lengths = np.array([2, 0, 2, 2, 2])
    expected = [False, False, True, False, False, True, False, True]
    assert orphans(tags, lengths).tolist() == expected
