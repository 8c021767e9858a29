"""The cheapest way to divide a graph in two: a minimum cut, by augmenting along shortest paths.

Source: E. A. Dinic, "Algorithm for solution of a problem of maximum flow in networks with power estimation", 1970.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise

SOURCE, SINK = 0, 1


class Network:
    """A directed graph with capacities; nodes are integers, `SOURCE` and `SINK` are there from the start."""

    def __init__(self) -> None:
        self._capacity: list[dict[int, float]] = [{}, {}]

    def node(self) -> int:
        """Returns a new node."""
        self._capacity.append({})
        return len(self._capacity) - 1

    def edge(self, start: int, end: int, capacity: float) -> None:
        """Adds capacity from one node to another."""
        if start != end and capacity > 0:
            self._capacity[start][end] = self._capacity[start].get(end, 0.0) + capacity
            self._capacity[end].setdefault(start, 0.0)

    def sink_side(self) -> set[int]:
        """Returns the nodes that a cheapest cut leaves with the sink, as few as possible; uses the network up."""
        while True:
            levels = self._levels()
            if SINK not in levels:
                break
            self._block(levels)
        reaching = {SINK}
        waiting = deque([SINK])
        while waiting:
            node = waiting.popleft()
            for other in self._capacity[node]:
                if other not in reaching and self._capacity[other][node] > 0:
                    reaching.add(other)
                    waiting.append(other)
        return reaching

    def _levels(self) -> dict[int, int]:
        levels = {SOURCE: 0}
        waiting = deque([SOURCE])
        while waiting:
            node = waiting.popleft()
            for other, left in self._capacity[node].items():
                if left > 0 and other not in levels:
                    levels[other] = levels[node] + 1
                    waiting.append(other)
        return levels

    def _block(self, levels: dict[int, int]) -> None:
        """Sends flow along the levels until nothing more goes through."""
        targets = {node: list(self._capacity[node]) for node in levels}
        path = [SOURCE]
        while path:
            node = path[-1]
            if node == SINK:
                del path[self._send(path) + 1 :]
                continue
            untried = targets[node]
            while untried and not self._leads_on(node, untried[-1], levels):
                untried.pop()
            if untried:
                path.append(untried[-1])
            else:
                path.pop()
                if path:
                    targets[path[-1]].pop()

    def _leads_on(self, node: int, other: int, levels: dict[int, int]) -> bool:
        return self._capacity[node][other] > 0 and levels.get(other) == levels[node] + 1

    def _send(self, path: list[int]) -> int:
        """Sends as much as a path takes, and returns the place of the last node that more can be sent to."""
        steps = list(pairwise(path))
        amount = min(self._capacity[start][end] for start, end in steps)
        full = len(steps)
        for place, (start, end) in enumerate(steps):
            self._capacity[start][end] -= amount
            self._capacity[end][start] += amount
            if full == len(steps) and self._capacity[start][end] <= 0:
                full = place
        return full
