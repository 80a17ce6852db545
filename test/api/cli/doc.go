// Package cli runs kubectl, the real program, against an API server in process with
// all controllers, the scheduler and simulated nodes beside it: its whole command
// set, and what sig-cli, sig-instrumentation and sig-architecture ask of a cluster.
//
// A script of testdata is a list of commands, each with what must be in its output;
// every one has a namespace of its own. What needs containers that really run is in
// test/node.
package cli
