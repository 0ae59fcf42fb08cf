import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { useEffect } from "react";
import { createBrowserRouter, Navigate, RouterProvider } from "react-router";
import { ApiError } from "./api/problem";
import { CapabilitiesPage } from "./capabilities/CapabilitiesPage";
import { FaultPage } from "./layout/FaultPage";
import { NotFoundPage } from "./layout/NotFoundPage";
import { Shell } from "./layout/Shell";
import { MeasurementPage } from "./measurements/MeasurementPage";
import { MeasurementsPage } from "./measurements/MeasurementsPage";
import { useSession } from "./session/session";
import { SignInPage } from "./session/SignInPage";
import { StudiesPage } from "./studies/list/StudiesPage";
import { TestbedsPage } from "./testbeds/TestbedsPage";
import { Skeleton } from "./ui/Notice";

const MOST_RETRIES = 2;

const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 1000,
      // The service's word is final; only a service that does not answer is asked again.
      retry: (failures, error) => !(error instanceof ApiError && error.status < 500) && failures < MOST_RETRIES,
    },
  },
});

const router = createBrowserRouter([
  {
    element: <Shell />,
    errorElement: <FaultPage />,
    hydrateFallbackElement: <Skeleton height_px={320} label="Loading the page" />,
    children: [
      { index: true, element: <Navigate to="/studies" replace /> },
      { path: "studies", element: <StudiesPage /> },
      // The study page brings the chart library: loaded when it is first needed.
      { path: "studies/:id", lazy: async () => ({ Component: (await import("./studies/page/StudyPage")).StudyPage }) },
      { path: "testbeds", element: <TestbedsPage /> },
      { path: "measurements", element: <MeasurementsPage /> },
      { path: "measurements/:id", element: <MeasurementPage /> },
      { path: "capabilities", element: <CapabilitiesPage /> },
      { path: "*", element: <NotFoundPage /> },
    ],
  },
]);

export function App() {
  const { token } = useSession();
  useEffect(() => {
    // Nothing that one person fetched is shown to the next.
    if (token === null) client.clear();
  }, [token]);

  if (token === null) return <SignInPage />;
  return (
    <QueryClientProvider client={client}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  );
}
