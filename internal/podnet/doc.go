// Package podnet gives one node its pod network: the pods' gateway, forwarding,
// masquerading of what leaves the cluster, the table of host ports, and the CNI
// configuration with which the container runtime calls the plugin in package cni.
//
// Pods are routed, never switched: each has a /32 address, a link and a route of
// its own, so that every packet passes the node's IP hooks once, where services
// are translated, answers translated back, and network policy will be enforced.
// A bridge would have the kernel switch translated packets between its ports
// where bridge netfilter is on, past those hooks. All pods see one gateway
// address; a link without ports holds it.
//
//	pod ── eth0 ═ veth ── route to the pod's /32 ── forward ── uplink
//	10.42.0.7             gateway 10.42.0.1                     masquerade
//
// Setup is idempotent and keeps what running pods use; Teardown removes all that
// carries the instance's name and touches nothing else, except that forwarding
// stays enabled. The package starts no goroutine.
package podnet
