// Package node keeps the API informed of one node: it registers the node, says
// what the machine is and has, whether pods can run on it, and renews its lease
// so that others know that it lives.
//
// It reads the machine from /proc and /sys and the runtime over CRI. It owns the
// goroutines of its loops within Run. It never changes labels, taints or
// annotations that others set, nor the node's pod range.
package node
