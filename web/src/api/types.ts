/** Short names for the generated types of the API. */
import type { components } from "./schema";

type Schemas = components["schemas"];

export type Candidate = Schemas["Candidate"];
export type Sample = Schemas["Sample"];
export type Workload = Schemas["Workload"];
export type TestbedView = Schemas["TestbedView"];
export type TestbedCreate = Schemas["TestbedCreate"];
export type VmOptions = Schemas["VmOptions"];
export type GatewayView = Schemas["GatewayView"];
export type StudyView = Schemas["StudyView"];
export type StudyCreate = Schemas["StudyCreate"];
export type StudyState = Schemas["StudyState"];
export type StudyProgress = Schemas["StudyProgress"];
export type Verdict = Schemas["Verdict"];
export type TrialView = Schemas["TrialView"];
export type TrialDetail = Schemas["TrialDetail"];
export type BlockView = Schemas["BlockView"];
export type BlockMetrics = Schemas["BlockMetrics"];
export type MeasurementView = Schemas["MeasurementView"];
export type MeasurementCreate = Schemas["MeasurementCreate"];
export type Capabilities = Schemas["Capabilities"];
export type Capability = Schemas["Capability"];
export type Explanation = Schemas["Explanation"];
export type Ablation = Schemas["Ablation"];
export type Bottleneck = Schemas["Bottleneck"];
export type Importance = Schemas["Importance"];
export type Reference = Schemas["Reference"];
