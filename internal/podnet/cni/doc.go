// Package cni is Sinawi's CNI plugin, called once per pod by the container
// runtime: it gives the pod a veth pair to the node, a /32 address from
// the node's range, a route through the gateway, and its host ports. The same
// program answers to the name "loopback" and brings a pod's own loopback up.
//
// Every command may be repeated and may be cut off anywhere: ADD replaces what a
// cut-off ADD left, DEL and GC succeed when nothing is left to remove. The package
// is started for every pod, so it imports little and does nothing at start.
package cni
