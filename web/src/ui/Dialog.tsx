import { useEffect, useId, useRef, type ReactNode } from "react";
import { IconButton } from "./Button";
import styles from "./Dialog.module.css";

interface DialogProps {
  title: string;
  mark?: ReactNode;
  shape?: "wide" | "narrow" | "drawer";
  onClose: () => void;
  children: ReactNode;
}

/**
 * A modal dialog on the platform's own <dialog>: it keeps the focus inside, closes on Escape and gives the focus back
 * to whatever opened it. Mounted means open.
 */
export function Dialog({ title, mark, shape = "wide", onClose, children }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const titleId = useId();

  useEffect(() => {
    const dialog = element.current;
    const opener = document.activeElement;
    dialog?.showModal();
    return () => {
      dialog?.close();
      if (opener instanceof HTMLElement) opener.focus();
    };
  }, []);

  return (
    <dialog
      ref={element}
      className={shape === "wide" ? styles.dialog : `${styles.dialog} ${styles[shape]}`}
      aria-labelledby={titleId}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <div className={styles.head}>
        <h2 id={titleId}>{title}</h2>
        {mark}
        <IconButton icon="close" label="Close" onClick={onClose} />
      </div>
      {/* Scrollable content must be reachable by keyboard even where nothing in it takes the focus. */}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <div className={styles.body} tabIndex={0} role="group" aria-labelledby={titleId}>
        {children}
      </div>
    </dialog>
  );
}
