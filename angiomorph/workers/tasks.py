"""The common way to do many tasks, wherever they are done."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from angiomorph.workers.cluster import Cluster, map_on_cluster
from angiomorph.workers.pool import AHEAD, Died, map_in_order

Task = TypeVar("Task")
Result = TypeVar("Result")


def map_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    cluster: Cluster | None = None,
    *,
    ahead: int = AHEAD,
) -> Generator[Result | Died, None, None]:
    """Yield `function(task)` of each task, in the order of the tasks.

    Args:
        function: a module's function, so that another process can import it.
        tasks: arguments that pickle can send.
        workers: processes of this machine; 0 for this process. They count for nothing with a cluster.
        cluster: where the tasks are done instead; from `open_cluster`.
        ahead: tasks a worker of the cluster by which work runs ahead of the result that is wanted next.

    Raises:
        InputError: see `map_in_order` and `map_on_cluster`.
        Exception: any error that `function` raised.
    """
    if cluster is not None:
        yield from map_on_cluster(function, tasks, cluster, ahead)
    elif workers:
        yield from map_in_order(function, tasks, workers)
    else:
        yield from map(function, tasks)
