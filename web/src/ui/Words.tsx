/** Text of the service, in which `code` stands between backticks. */
export function Words({ children }: { children: string }) {
  return children.split("`").map((part, index) => (index % 2 === 1 ? <code key={index}>{part}</code> : part));
}
