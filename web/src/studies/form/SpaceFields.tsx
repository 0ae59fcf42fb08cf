import { fieldError } from "../../api/problem";
import { CheckField, ChoicesField, InputField } from "../../ui/Field";
import type { StudyText } from "./studyForm";
import form from "../../ui/Form.module.css";
import styles from "./StudyDialog.module.css";

interface SpaceFieldsProps {
  text: StudyText;
  error: unknown;
  onChange: (part: Partial<StudyText>) => void;
}

type ListName = "lanes" | "crypto_workers" | "mtu" | "placement" | "batch_packets" | "socket_buffer_mib";

const LISTS: readonly { name: ListName; field: string; label: string; placeholder: string; unit?: string }[] = [
  { name: "lanes", field: "lanes", label: "Lanes", placeholder: "1, 2, 4" },
  { name: "crypto_workers", field: "crypto_workers", label: "Crypto workers", placeholder: "1, 2" },
  { name: "mtu", field: "mtu", label: "MTU", placeholder: "1420", unit: "B" },
  { name: "batch_packets", field: "batch_packets", label: "Batch", placeholder: "32, 64", unit: "packets" },
  { name: "socket_buffer_mib", field: "socket_buffer_bytes", label: "Socket buffers", placeholder: "1, 4", unit: "MiB" },
  { name: "placement", field: "placement", label: "Placement", placeholder: "near, packed" },
];

const MODES = ["inline", "pipelined"] as const;
const SPREADS = ["ecmp", "bond"] as const;
const NUMA_POLICIES = ["local", "bind", "prefer"] as const;

/** Fixes a tunable (one value) or narrows it (a few); what is left empty stays as the topology gives it. */
export function SpaceFields({ text, error, onChange }: SpaceFieldsProps) {
  return (
    <fieldset className={form.group}>
      <legend>Search space</legend>
      <p className={styles.hint}>
        One value fixes a tunable, several narrow it. What stays empty is generated from the topology of the two gateways.
      </p>
      <div className={form.columns}>
        {LISTS.map(({ name, field, label, placeholder, unit }) => (
          <InputField
            key={name}
            label={label}
            placeholder={placeholder}
            value={text[name]}
            error={fieldError(error, `space.${field}`)}
            onChange={(event) => onChange({ [name]: event.target.value })}
            {...(unit ? { unit } : {})}
          />
        ))}
      </div>
      <div className={form.columns}>
        <ChoicesField
          label="Modes"
          options={MODES}
          chosen={text.modes}
          error={fieldError(error, "space.mode")}
          onChange={(modes) => onChange({ modes })}
        />
        <ChoicesField
          label="Spread of flows (ecmp alone unless chosen)"
          options={SPREADS}
          chosen={text.spreads}
          error={fieldError(error, "space.spread")}
          onChange={(spreads) => onChange({ spreads })}
        />
        <ChoicesField
          label="NUMA policies"
          options={NUMA_POLICIES}
          chosen={text.numa_policies}
          error={fieldError(error, "space.numa_policy")}
          onChange={(numa_policies) => onChange({ numa_policies })}
        />
      </div>
      <CheckField
        label="Search a placement for each gateway, not one for both"
        checked={text.placement_per_gateway}
        onChange={(placement_per_gateway) => onChange({ placement_per_gateway })}
      />
    </fieldset>
  );
}
