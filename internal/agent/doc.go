// Package agent runs the pods of one node: it is what Kubernetes calls a kubelet.
//
// It follows the pods bound to its node and keeps one worker for each, which works
// over CRI with any container runtime; it registers the node, keeps its lease and
// status, serves the kubelet API and cleans up what no pod needs. The parts are
// sub-packages; this one composes them and hands pods, container events and
// changes of content to the workers.
//
// The agent keeps nothing that it cannot lose: what runs, how often it restarted
// and how it ended is in the runtime, what shall run is in the API. It may be
// killed at any moment; containers go on, and the next agent adopts them.
package agent
