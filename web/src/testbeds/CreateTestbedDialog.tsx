import { useState, type SubmitEvent } from "react";
import { fieldError } from "../api/problem";
import type { TestbedCreate } from "../api/types";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import { InputField, SelectField } from "../ui/Field";
import { ErrorNotice } from "../ui/Notice";
import { DISTRIBUTIONS, type Distribution } from "./distributions";
import { useCreateTestbed } from "./queries";
import { SimulationFields } from "./SimulationFields";
import { SshFields } from "./SshFields";
import { SSH_DEFAULTS, sshOf, type SshText } from "./sshHosts";
import { SIMULATION_DEFAULTS, simulationOf, type SimulationText } from "./simulation";
import form from "../ui/Form.module.css";

const HINTS = {
  netns: "Real traffic between two namespaces here; needs root.",
  vm: "Two virtual machines here; needs root and, the first time, minutes.",
  ssh: "Two machines of yours with a link of their own: docs/testbeds.md.",
  compose: "Real traffic between the two containers of docker-compose.yml.",
  sim: "The cost model: no packet is sent.",
};

type Driver = keyof typeof HINTS;

export function CreateTestbedDialog({ onClose }: { onClose: () => void }) {
  const [name, setName] = useState("");
  const [driver, setDriver] = useState<Driver>("netns");
  const [simulation, setSimulation] = useState<SimulationText>(SIMULATION_DEFAULTS);
  const [ssh, setSsh] = useState<SshText>(SSH_DEFAULTS);
  const [distribution, setDistribution] = useState<Distribution>("debian-12");
  const create = useCreateTestbed();

  function submit(event: SubmitEvent): void {
    event.preventDefault();
    const body: TestbedCreate = {
      name,
      driver,
      ...(driver === "sim" && { simulation: simulationOf(simulation) }),
      ...(driver === "ssh" && { ssh: sshOf(ssh) }),
      ...(driver === "vm" && { vm: { distribution } }),
    };
    create.mutate(body, { onSuccess: onClose });
  }

  return (
    <Dialog title="Add testbed" onClose={onClose}>
      <form className={form.form} onSubmit={submit} noValidate>
        {create.error && <ErrorNotice error={create.error} />}
        <div className={form.columns}>
          <InputField
            label="Name"
            value={name}
            onChange={(event) => setName(event.target.value)}
            error={fieldError(create.error, "name")}
            hint="Small letters, digits and hyphens; at most 15."
            autoComplete="off"
            spellCheck={false}
          />
          <SelectField
            label="Driver"
            value={driver}
            onChange={(event) => setDriver(event.target.value as Driver)}
            error={fieldError(create.error, "driver")}
            hint={HINTS[driver]}
          >
            <option value="netns">Network namespaces (netns)</option>
            <option value="vm">Virtual machines (vm)</option>
            <option value="ssh">Hosts reached by SSH (ssh)</option>
            <option value="compose">Containers (compose)</option>
            <option value="sim">Simulated hosts (sim)</option>
          </SelectField>
        </div>
        {driver === "vm" && (
          <SelectField
            label="Distribution"
            value={distribution}
            onChange={(event) => setDistribution(event.target.value as Distribution)}
            error={fieldError(create.error, "vm.distribution")}
            hint="What both machines run."
          >
            {Object.entries(DISTRIBUTIONS).map(([value, words]) => (
              <option key={value} value={value}>
                {words}
              </option>
            ))}
          </SelectField>
        )}
        {driver === "ssh" && <SshFields value={ssh} onChange={setSsh} error={create.error} />}
        {driver === "sim" && <SimulationFields value={simulation} onChange={setSimulation} error={create.error} />}
        <div className={form.buttons}>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" type="submit" disabled={create.isPending}>
            {create.isPending ? "Adding…" : "Add testbed"}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
