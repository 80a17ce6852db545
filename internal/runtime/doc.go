// Package runtime is the container runtime of a node: containerd as a library,
// serving CRI v1 on a unix socket.
//
// It owns what lies in Config.Root and Config.State, the processes, mounts, network
// namespaces and cgroups below Config.CgroupParent that containers need, and the
// unpacked helper binary. It promises that containers outlive it: Serve may be
// killed at any moment, and the next Serve on the same directories finds every
// container again, with the exit codes of those that ended meanwhile.
//
// It never decides what runs: that is the agent's, over CRI. Serve changes the
// process it runs in (PATH, log output, global plugin registry), so it has a process
// of its own, which outlives the one that started it. Starting it and watching over
// it is the composition root's.
package runtime
