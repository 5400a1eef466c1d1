/** Public names of the command line package: what the demo and the benchmarks drive a cluster with. */
export { ApiClient, hasEnded, pause } from './api-client.ts';
export { Cluster, type ClusterHost, type ClusterOptions } from './cluster.ts';
export { auditText } from './commands/guest.ts';
export { ConsoleClient, type ConsoleOptions } from './console-client.ts';
export { DOWNTIME_STEPS, type DowntimeStep, splitDowntime } from './downtime.ts';
export { CommandError, EXIT, usageError } from './errors.ts';
export * from './format.ts';
export { GapMeter } from './gap-meter.ts';
export { type Io, processIo } from './io.ts';
export { LinuxGuest } from './linux-guest.ts';
export { findLinux, type LinuxImage } from './linux-image.ts';
export { headText } from './migration-text.ts';
export { parseSize } from './options.ts';
export { printError, table } from './output.ts';
export { MigrationView } from './progress.ts';
export { followPulse } from './workload-pulse.ts';
