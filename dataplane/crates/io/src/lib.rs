//! Every system call of the data plane: TUN offloads, UDP GSO/GRO, affinity, NUMA memory policy.
