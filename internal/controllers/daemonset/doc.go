// Package daemonset keeps one pod of a template on every node that it fits.
//
// It owns the pods that a DaemonSet controls and the DaemonSet's status. It says
// by node affinity where a pod belongs; binding is the scheduler's. A pod that is
// only not welcome any more (NoSchedule) stays; one that is driven off
// (NoExecute) is removed and not made again until the node takes it.
package daemonset
