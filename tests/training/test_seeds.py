"""Each purpose has a stream of random numbers of its own."""

import torch

from edge_vit.training.seeds import derive_seed, stream


def test_seeds_depend_on_everything():
    places = [("view", 0, 1, 2), ("view", 0, 12), ("view", 0, 2, 1), ("view", 1, 1, 2), ("order", 0, 1, 2)]
    seeds = [derive_seed(*place) for place in places]
    assert len(set(seeds)) == len(places) and all(0 <= seed < 2**63 for seed in seeds)
    assert seeds == [derive_seed(*place) for place in places]
    assert derive_seed("view", 0, 1, 2) == 4283347345666814860, "the same on every machine and Python"


def test_streams_are_repeatable_and_apart():
    first, again, other = (torch.rand(4, generator=stream(*p)) for p in (("a", 1), ("a", 1), ("b", 1)))
    assert torch.equal(first, again) and not torch.equal(first, other)
