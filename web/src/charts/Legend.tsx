import styles from "./Chart.module.css";

export interface LegendEntry {
  label: string;
  colour: string;
  shape: "dot" | "line" | "dashed" | "cross" | "diamond";
}

function swatchClass(shape: LegendEntry["shape"]): string {
  const shapes = shape === "dashed" ? [styles.line, styles.dashed] : shape === "dot" ? [] : [styles[shape]];
  return [styles.swatch, ...shapes].join(" ");
}

export function Legend({ entries }: { entries: readonly LegendEntry[] }) {
  return (
    <ul className={styles.legend} aria-label="Legend">
      {entries.map(({ label, colour, shape }) => (
        <li key={label}>
          <span
            aria-hidden="true"
            className={swatchClass(shape)}
            style={shape === "line" || shape === "dashed" ? { borderTopColor: colour } : { background: colour }}
          />
          {label}
        </li>
      ))}
    </ul>
  );
}
