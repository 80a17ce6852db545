// Package engine decides which node a pod goes to. It is pure: it knows the
// cluster only as the nodes and pods it is told of, asks nobody, has no clock
// and no goroutine, and must be used by one goroutine at a time.
//
// Pods that ask for the same thing form a class. A class keeps the nodes that
// are feasible for it in a heap ordered by score, and reads what changed since
// it last looked from the engine's change log:
//
//	pod ──class──► heap of feasible nodes ◄──catch up── change log ◄── nodes, pods
//
// so placing a pod costs O(changed nodes × log nodes), not a scan of the
// cluster. Rules that depend on where other pods are (inter-pod affinity,
// topology spread) cannot be kept per class; a pod that has them, or that an
// existing pod's anti-affinity speaks of, is checked against each feasible node
// of its class.
//
// The rules and their wording are kube-scheduler's default profile
// (https://kubernetes.io/docs/reference/scheduling/config/#profiles), with one
// difference in scoring: scores are absolute, not normalised over the nodes of
// one decision, because a normalised score of every node would change with
// every placement.
package engine
