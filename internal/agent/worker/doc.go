// Package worker brings one pod to what its spec asks for, and to its end.
//
// A Worker has one loop. Each round reads what the runtime holds of the pod, lets
// package plan decide, acts, and reports; rounds are set off by changes of the pod
// in the API, events of its containers, verdicts of its probes and timers, never
// by a clock alone. What takes long (pulls, stopping) happens beside the loop and
// wakes it. A round that is broken off, or an agent that is killed, leaves only
// another starting point: everything that must survive is in the runtime.
//
//	Update, Gone, Refresh, Wake ──► round: read ─ decide ─ act ─ report
//	                                  ▲                  │
//	                    pulls, stops ─┴── probes ◄───────┘
//
// A Worker never touches another pod, and does not end before the pod is gone from
// the API and from the node.
package worker
