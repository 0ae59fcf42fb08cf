const SAFE = /^[\w@%+=:,./-]+$/;

/** A command line that can be pasted into a POSIX shell. */
export function commandLine(argv: readonly string[]): string {
  return argv.map((word) => (SAFE.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(" ");
}
