import type { Header, ReactTable, Row } from "@tanstack/react-table";
import type { TrialView } from "../../api/types";
import { Badge, type Tone } from "../../ui/Badge";
import { Icon } from "../../ui/Icon";
import { ScrollRegion } from "../../ui/ScrollRegion";
import tableStyles from "../../ui/Table.module.css";
import { isNumberColumn, noteOf, type trialFeatures } from "./columns";
import { raceLabel, trialName } from "./trial";
import styles from "./trials.module.css";

type Features = typeof trialFeatures;
type TrialTable = ReactTable<Features, TrialView>;

const TONES: Record<TrialView["state"], Tone> = { running: "info", completed: "neutral", infeasible: "warn", failed: "bad" };

const toneOf = ({ state, standing }: TrialView): Tone => (standing?.race === "infeasible" ? "warn" : TONES[state]);

interface TrialsTableProps {
  table: TrialTable;
  bestNumber: number | null;
  onSelect: (trialId: number) => void;
}

export function TrialsTable({ table, bestNumber, onSelect }: TrialsTableProps) {
  return (
    <ScrollRegion label="Table of trials">
      <table className={`${tableStyles.table} ${styles.table}`}>
        <thead>
          {table.getHeaderGroups().map((group) => (
            <tr key={group.id}>
              {group.headers.map((header) => (
                <HeaderCell key={header.id} header={header} />
              ))}
            </tr>
          ))}
        </thead>
        <tbody>
          {table.getRowModel().rows.map((row) => (
            <TrialRow key={row.id} row={row} table={table} isBest={bestNumber !== null && row.original.number === bestNumber} onSelect={onSelect} />
          ))}
        </tbody>
      </table>
    </ScrollRegion>
  );
}

const ARIA_SORT = { asc: "ascending", desc: "descending" } as const;

function HeaderCell({ header }: { header: Header<Features, TrialView> }) {
  const { column } = header;
  const sorted = column.getIsSorted();
  return (
    <th scope="col" aria-sort={sorted ? ARIA_SORT[sorted] : "none"} className={isNumberColumn(column.id) ? tableStyles.number : undefined}>
      <button type="button" className={styles.sort} data-sorted={sorted || undefined} onClick={() => column.toggleSorting()}>
        {String(column.columnDef.header)}
        <Icon name={sorted === "asc" ? "arrowUp" : sorted === "desc" ? "arrowDown" : "sort"} size={12} />
      </button>
    </th>
  );
}

interface TrialRowProps {
  row: Row<Features, TrialView>;
  table: TrialTable;
  isBest: boolean;
  onSelect: (trialId: number) => void;
}

function TrialRow({ row, table, isBest, onSelect }: TrialRowProps) {
  const trial = row.original;
  return (
    <tr className={isBest ? styles.best : trial.is_baseline ? styles.baseline : undefined}>
      {row.getAllCells().map((cell) => {
        const note = noteOf(trial, cell.column.id);
        return (
          <td key={cell.id} className={isNumberColumn(cell.column.id) ? tableStyles.number : tableStyles.nowrap}>
            {cell.column.id === "number" ? (
              <button type="button" className={styles.open} onClick={() => onSelect(trial.id)}>
                {trialName(trial)}
                {isBest && <span className="visually-hidden"> (best)</span>}
              </button>
            ) : cell.column.id === "state" ? (
              <Badge tone={toneOf(trial)} busy={trial.state === "running"}>
                {raceLabel(trial)}
              </Badge>
            ) : (
              <table.FlexRender cell={cell} />
            )}
            {note && <span className={styles.spread}>{note}</span>}
          </td>
        );
      })}
    </tr>
  );
}
