// Package server serves the kubelet API of one node over TLS: logs, exec, attach
// and port-forward for the API server to pass on, the node's pods, health,
// statistics and metrics.
//
// Every request must come with a client certificate of the cluster, or a token
// if there is somebody to ask about it, and be allowed: the API server's own
// certificate is, others where the API says so. The server owns no state: pods
// come from the agent, containers are looked up in the runtime when they are
// asked for. Streams go to the runtime's own streaming server, whose addresses
// never leave the node.
package server
