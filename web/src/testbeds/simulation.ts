import type { TestbedCreate } from "../api/types";
import { numberOf } from "../format/input";

type SimulationOptions = NonNullable<TestbedCreate["simulation"]>;

/** The simulation's fields as typed; the service judges them. */
export type SimulationText = Record<keyof SimulationOptions, string>;

export const SIMULATION_DEFAULTS: SimulationText = {
  sockets: "1",
  cores_per_socket: "4",
  threads_per_core: "1",
  noise_ratio: "0.02",
  drift_per_hour: "0",
  swing_ratio: "0",
  outlier_ratio: "0",
  seed: "0",
  sample_time_ratio: "0",
  lab_failure_ratio: "0",
  broken_candidate_ratio: "0",
};

export function simulationOf(text: SimulationText): SimulationOptions {
  return {
    sockets: numberOf(text.sockets),
    cores_per_socket: numberOf(text.cores_per_socket),
    threads_per_core: numberOf(text.threads_per_core),
    noise_ratio: numberOf(text.noise_ratio),
    drift_per_hour: numberOf(text.drift_per_hour),
    swing_ratio: numberOf(text.swing_ratio),
    outlier_ratio: numberOf(text.outlier_ratio),
    seed: numberOf(text.seed),
    sample_time_ratio: numberOf(text.sample_time_ratio),
    lab_failure_ratio: numberOf(text.lab_failure_ratio),
    broken_candidate_ratio: numberOf(text.broken_candidate_ratio),
  };
}
