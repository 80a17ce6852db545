package decisions

import "time"

// Decision is what was decided about one pod.
type Decision struct {
	Time      time.Time `json:"time"`
	Namespace string    `json:"namespace"`
	Pod       string    `json:"pod"`
	UID       string    `json:"uid"`
	// Class is what pods share that ask for the same; they are decided alike.
	Class string `json:"class,omitempty"`

	// Node is where the pod was put; "" where it had no place.
	Node string `json:"node,omitempty"`
	// Feasible is how many nodes could have taken it.
	Feasible int `json:"feasible,omitempty"`
	// Score is that of its node, and RunnerUp that of the best of the others.
	Score    float64 `json:"score,omitempty"`
	RunnerUp float64 `json:"runnerUp,omitempty"`

	// Why is the reason in words, where it had no place or lost it.
	Why string `json:"why,omitempty"`
	// Reasons are what nodes have against it, by rule.
	Reasons []Reason `json:"reasons,omitempty"`
	// Nominated is where room is being made for it.
	Nominated string `json:"nominated,omitempty"`
}

// Reason is what some nodes have against a pod.
type Reason struct {
	Rule   string `json:"rule"`
	Reason string `json:"reason"`
	Nodes  int    `json:"nodes"`
	// Such are some of the nodes.
	Such []string `json:"such,omitempty"`
}
