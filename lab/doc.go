// Package lab is the rig for tests and benchmarks with real processes: nodes
// that each run the real binary in a network namespace of their own on one
// machine, joined by a bridge, with means to kill, cut off and start again.
//
//	host ── lab bridge ─┬─ veth ── namespace of node 1: sinawi server, runtime, containers
//	                    └─ veth ── namespace of node 2: ...
//
// A Lab cleans up after itself: Close ends every process it started, by pid,
// and removes namespaces, links and directories, whatever state they are in.
package lab
