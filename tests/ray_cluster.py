"""A Ray cluster of two nodes with one CPU each, in a process of its own.

It says the address on its first line. A line on standard input kills the second node, and the end
of standard input ends all.
"""

import sys

from ray.cluster_utils import Cluster

STORE = 80 * 2**20


def main() -> None:
    node = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    second = cluster.add_node(**node)
    print(cluster.address, flush=True)
    try:
        if sys.stdin.readline():
            cluster.remove_node(second, allow_graceful=False)
            print("killed", flush=True)
            sys.stdin.readline()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
