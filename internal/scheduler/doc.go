// Package scheduler assigns pods to nodes: it watches pods and nodes, asks the
// engine (package engine, pure) for a place, and binds. It owns the queue of
// pods that wait and the words that tell a user why one waits.
//
//	watches ──► mailbox ──► loop: engine + queue ──► binders ──► API server
//	                ▲                                   │
//	                └────────── what became of it ──────┘
//
// One goroutine, the loop, owns engine and queue, so neither has a lock. A
// fixed number of binders write to the API server. A pod that is being bound
// counts as placed at once; if the write fails it is taken back and tried
// again after a pause.
//
// The scheduler meets the rest of the cluster through API objects alone:
// kube-scheduler can take its place.
package scheduler
