import { Link } from "react-router";
import { PageHeader } from "./PageHeader";

export function NotFoundPage() {
  return (
    <>
      <PageHeader title="There is no such page" />
      <p>
        Go to the <Link to="/studies">studies</Link>.
      </p>
    </>
  );
}
