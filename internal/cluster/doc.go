// Package cluster is the composition root: it builds every component of a
// server or agent, owns the order in which they start and stop, and is the only
// package that imports all of them.
//
// Start order, each part as soon as what it needs is there:
//
//	data directory ─► certificates ─┬─► store ─► API server ─┬─► scheduler
//	                                │                        ├─► controllers
//	                                └─► runtime (own process)┴─► node: network, agent, proxy, DNS
//
// Parts stop in the opposite order. The runtime is a process of its own and is
// left running: containers outlive a restart or a crash of everything here.
package cluster
