"""One function of many tasks: in this process, in processes of this machine, or on a cluster of several machines."""

from angiomorph.workers.cluster import Cluster, open_cluster
from angiomorph.workers.pool import Died, map_in_order
from angiomorph.workers.tasks import map_tasks

__all__ = ["Cluster", "Died", "map_in_order", "map_tasks", "open_cluster"]
