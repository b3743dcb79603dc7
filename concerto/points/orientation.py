"""Which of its two signs each normal has: what makes neighbours agree and surfaces face out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# An orientation counts where the mean that tells it is at least this; see `_side`.
TELLING = 0.1, 0.01, 0.1, 0.0


def agreeing_signs(
    places: Floats, normal: Floats, area: Floats, neighbors: NDArray[np.int32]
) -> Floats:
    """(P,) of +1 and -1, which turn the normals of each connected surface to one of its sides.

    places: (P, 3) coordinates. normal: (P, 3) of unit length and either sign, or zero.
    area: (P,) what each place stands for of the surface, up to a common factor. neighbors: (P, E)
    the nearest places.

    Hoppe et al., "Surface reconstruction from unorganized points" (SIGGRAPH 1992), hand a sign
    from neighbour to neighbour along a minimum spanning tree of 1 - |n·n'|, where one bad edge
    turns all that hangs on it. Here too those join first that agree most, but patches join, each
    with the neighbour about which all contacts between the two are surest.
    """
    sign, patch = np.ones(len(places)), np.arange(len(places), dtype=np.int32)
    patches, contacts = len(places), _contacts(normal, neighbors)
    while len(contacts.vote):
        flip, joined, patches = _join(contacts, patches)
        contacts = contacts.after(flip, joined, patches)
        sign *= flip[patch]
        patch = joined[patch]
    return sign * _side(places, normal * sign[:, None], area, patch, patches)[patch]


@dataclass(frozen=True)
class _Contacts:
    """C contacts between patches.

    first, second: (C,) int32 the two patches. vote: (C,) the sum of n·n' over all neighbours of
    which one is in each, positive where the two agree. voters: (C,) how many those are.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    vote: NDArray[np.float32]
    voters: NDArray[np.float32]

    def after(
        self, flip: NDArray[np.float32], joined: NDArray[np.int32], patches: int
    ) -> _Contacts:
        """Those left once patches got the sign `flip` and became part of the patch `joined`."""
        from scipy.sparse import coo_array

        ends = joined[self.first], joined[self.second]
        apart = ends[0] != ends[1]
        pairs = np.minimum(*ends)[apart], np.maximum(*ends)[apart]
        vote = (self.vote * flip[self.first] * flip[self.second])[apart]
        shape = (patches, patches)
        votes = coo_array((vote, pairs), shape=shape).tocsr().tocoo()
        voters = coo_array((self.voters[apart], pairs), shape=shape).tocsr().data
        return _Contacts(votes.row, votes.col, votes.data, voters)


def _contacts(normal: Floats, neighbors: NDArray[np.int32]) -> _Contacts:
    """Every place as a patch of its own, in contact with its neighbours."""
    count, edges = neighbors.shape
    vote = np.empty((count, edges), np.float32)
    # By columns, so that no more than one neighbour's normals are alive at once.
    for edge, others in enumerate(neighbors.T):
        vote[:, edge] = np.einsum("pc,pc->p", normal, normal[others])
    first = np.repeat(np.arange(count, dtype=np.int32), edges)
    voters = np.ones(count * edges, np.float32)
    return _Contacts(first, neighbors.ravel(), vote.ravel(), voters)


def _join(contacts: _Contacts, patches: int) -> tuple[NDArray[np.float32], NDArray[np.int32], int]:
    """Join each patch with the neighbour that is surest: (A,) signs, (A,) new patches, how many."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # Were votes drawn at random, their sum would grow with the root of their number.
    certainty = np.abs(contacts.vote) / np.sqrt(contacts.voters)
    surest = np.zeros(patches, np.float32)
    np.maximum.at(surest, contacts.first, certainty)
    np.maximum.at(surest, contacts.second, certainty)
    chosen = (certainty == surest[contacts.first]) | (certainty == surest[contacts.second])
    ends = contacts.first[chosen], contacts.second[chosen]
    agree = np.where(contacts.vote[chosen] < 0, np.float32(-1), np.float32(1))
    links = coo_array((agree, ends), shape=(patches, patches)).tocsr()
    count, joined = connected_components(links, directed=False)
    joined = joined.astype(np.int32)
    parent, own = _parents(links, joined), np.arange(patches)
    link = np.asarray(links[own, parent] + links[parent, own]).ravel()
    flip = np.where(link < 0, np.float32(-1), np.float32(1))
    # Every row looks twice as far up the tree each time, until all have seen their roots.
    while not np.array_equal(grandparent := parent[parent], parent):
        flip *= flip[parent]
        parent = grandparent
    return flip, joined, count


def _parents(tree: Any, surface: NDArray[np.int32]) -> Integers:
    """(P,) the parent of each row of a forest, a root being its own.

    tree: sparse (P, P), an edge in either direction. surface: (P,) the tree that each row is in.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order

    # One more row, joined to the first of every tree, lets a single search reach all.
    count = len(surface)
    roots = np.unique(surface, return_index=True)[1]
    edges = tree.tocoo()
    starts = np.concatenate([edges.row, np.full(len(roots), count)])
    ends = np.concatenate([edges.col, roots])
    joined = coo_array((np.ones(len(starts)), (starts, ends)), shape=(count + 1, count + 1))
    found = breadth_first_order(joined.tocsr(), count, directed=False)[1]
    parent: Integers = found[:count].astype(np.int64)
    parent[roots] = roots
    return parent


def _side(
    places: Floats,
    normal: Floats,
    area: Floats,
    surface: NDArray[np.int32],
    surfaces: int,
) -> Floats:
    """(S,) of +1 and -1: what turns each of S surfaces up if it is open and outwards if not.

    Over a closed surface ∫ n dA = 0, and ∫ n·x dA is three times its volume, positive where n
    points out. So a mean normal that is not zero tells an open surface, and which way it looks.
    Weighted by area, since a scanner sees some sides more densely than others.
    """

    def mean(values: Floats) -> Floats:
        total = np.bincount(surface, area, surfaces)
        columns = values.reshape(len(values), -1).T
        sums = [np.bincount(surface, area * column, surfaces) for column in columns]
        return np.stack(sums, axis=1) / np.maximum(total, np.finfo(float).tiny)[:, None]

    reach = places - mean(places)[surface]
    size = mean(np.linalg.norm(reach, axis=1))
    volume = mean(np.einsum("pc,pc->p", normal, reach)) / np.maximum(size, np.finfo(float).tiny)
    x, y, z = np.hsplit(mean(normal), 3)
    evidence = np.hstack([z, volume, x, y])
    first = (np.abs(evidence) >= TELLING).argmax(1)
    return np.where(evidence[np.arange(surfaces), first] < 0, -1.0, 1.0)
