// Package engine decides which node a pod goes to. It is pure: it knows the
// cluster only as the nodes and pods it is told of, asks nobody, has no clock
// and no goroutine, and must be used by one goroutine at a time. Fed from files
// instead of watches it simulates: where would this go, what would it evict.
//
// Pods to which every rule and score says the same form a class. A class keeps
// the nodes that are feasible for it in groups, each a heap ordered by how well
// the node's resources would be used, and reads what changed since it last
// looked from the engine's change log:
//
//	pod ──class──► groups ──► heaps of feasible nodes ◄── change log ◄── nodes, pods
//	                 │
//	                 └──► counts by domain (tallies) ◄── pods
//
// Nodes are in one group when rules between pods cannot tell them apart: they
// are in the same domains, or as full of the pods that are counted on a node.
// Such rules (inter-pod affinity, topology spread) are asked of groups, from
// counts that every pod that comes or goes updates. So placing a pod costs
// O(groups + changed nodes × log nodes), not a scan of the cluster; only rules
// that are one pod's alone (Extra) and room kept for nominated pods are asked
// node by node, the best first.
//
// Nodes that are not feasible are kept by what they say against the class, and what
// would have to leave them by node: so to explain why a pod waits, and whose place it
// takes, costs O(reasons + changed nodes + candidates), and candidates that have not
// changed are only compared.
//
// The rules, scores and wording are kube-scheduler's
// (https://kubernetes.io/docs/reference/scheduling/config/#scheduling-plugins).
// Of nodes that score the same, the one is taken whose resources would be used
// better by less than a point.
package engine
