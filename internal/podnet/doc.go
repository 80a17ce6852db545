// Package podnet gives one node its pod network: a bridge that is the pods'
// gateway, forwarding, masquerading of what leaves the cluster, the links that
// carry addresses served on every node (the cluster DNS), the table of host
// ports, and the CNI configuration with which the container runtime calls the
// plugin in package cni.
//
// Pods are routed, never switched: each has a /32 address and reaches everything
// through the bridge's own address, so that every packet passes the node's IP
// hooks, where services are translated, answers translated back, and network
// policy will be enforced, with or without bridge netfilter.
//
//	pod ── eth0 ═ veth ── bridge (gateway address) ── forward ── uplink
//	                       isolated ports              masquerade
//
// Setup is idempotent and keeps what running pods use; Teardown removes all that
// carries the instance's name and touches nothing else, except that forwarding
// stays enabled. The package starts no goroutine.
package podnet
