// Package workloads holds the black box tests of what keeps applications
// running: the workload controllers and the scheduler behind a real API server,
// with simulated nodes where no container is needed and a real one where it is.
package workloads
