"""What was settled is no more walked, and what is dropped of it is freed all the same."""

from __future__ import annotations

import gc
import weakref

from hanse.control import memory


class Record:
    """Something that a collection would walk."""


def test_what_stands_is_left_out_of_collections_and_still_freed_when_dropped():
    kept = Record()
    seen = weakref.ref(kept)
    try:
        memory.settle()
        assert gc.get_freeze_count() > 0
        assert not any(one is kept for one in gc.get_objects())
        del kept
        assert seen() is None
    finally:
        gc.unfreeze()


def test_a_circle_that_was_settled_is_found_by_the_next_call():
    one = Record()
    one.itself = one
    seen = weakref.ref(one)
    try:
        memory.settle()
        del one
        memory.settle()
        assert seen() is None
    finally:
        gc.unfreeze()


def test_nothing_is_collected_while_a_decision_is_made_and_all_goes_on_after_it():
    one = Record()
    one.itself = one
    seen = weakref.ref(one)
    del one
    with memory.undisturbed():
        assert not gc.isenabled()
        assert seen() is not None
    assert gc.isenabled()
    gc.collect()
    assert seen() is None


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        with memory.undisturbed():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
