// Package nodelifecycle notices nodes that fall silent and keeps pods away from
// nodes that are not well.
//
// It owns the taints that follow from a node's conditions, the conditions of
// nodes that stopped reporting, and the readiness of pods on them. A renewed
// lease costs nothing: only a timer per node looks whether one is due. When no
// node of the cluster is well, the fault is likelier here than there, and nobody
// is evicted; when many fail at once, evictions are spaced out.
package nodelifecycle
