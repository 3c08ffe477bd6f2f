"""The node in a process of its own: it says once that it generates nothing, and ends when asked."""

import signal

from ws_node.testing import end_node, free_domain, start_node


def test_it_says_that_generation_is_off_and_ends_cleanly():
    node = start_node("ws_world_model.nodes.world_model_node", domain=free_domain())
    assert "generation is off: this mode uses real data only" in node.stdout.readline()
    assert "generation is off" not in end_node(node, signal.SIGINT)
