// Package hollow simulates nodes: thousands of them in one process, each a real
// Node object with a real Lease that is renewed, a status that is reported, and
// pods that are said to run and are deleted in the end. There is no container
// and no machine behind them.
//
// All writes go over HTTPS through one shared connection pool, each in the name
// of its node (impersonation), so that the node authorizer and the node
// restriction judge them as those of a kubelet. One watch of all pods and one of
// all nodes serve the whole fleet, where real nodes have their own.
//
//	watch ──► mailbox ──► writers ──► API server
//	wheel ──► mailbox ──► writers ───────▲
//
// There is no goroutine and no timer per node: a wheel with one ticker says
// whose heartbeat is due, and a fixed number of writers sends.
package hollow
