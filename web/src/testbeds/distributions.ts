import type { VmOptions } from "../api/types";

export type Distribution = VmOptions["distribution"];

/** What the machines of driver `vm` can run. */
export const DISTRIBUTIONS: Record<Distribution, string> = {
  "debian-12": "Debian 12",
  "debian-13": "Debian 13",
  "ubuntu-22.04": "Ubuntu 22.04",
  "ubuntu-24.04": "Ubuntu 24.04",
};
