// Package scheduler assigns pods to nodes: it watches pods and nodes, asks the
// engine (package engine, pure) for a place, and binds. It owns the writes that
// make room or volumes for pods, and the words that tell a user why one waits.
//
//	watches ──► mailbox ──► loop: engine + queue ──► binders ──► API server
//	                ▲              │                    │
//	                │              └──► errands: evict, bind volumes, allocate
//	                └────────── what became of it ──────┘
//
// One goroutine, the loop, owns engine and queue (package backlog), groups and
// fair queues (package batch), and what is known of volumes (package storage) and
// devices (package devices), so none has a lock. A fixed
// number of binders and errand runners write to the API server. A pod that is
// being bound counts as placed at once; if a write fails it is taken back and
// tried again after a pause.
//
// Whoever stores pods may ask for a node before (Place): where nothing has to be
// prepared and nobody waits whose turn it is, the loop answers at once, and the pod
// needs no binding.
//
// A pod that fits nowhere tries again when something happened that can help it:
// pods that only the rules of their class keep waiting try one at a time once
// their class is feasible, which the engine knows exactly; others when what
// refused them has changed.
//
// The scheduler meets the rest of the cluster through API objects alone:
// kube-scheduler can take its place.
package scheduler
