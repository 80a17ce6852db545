package simnode

import (
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Annotations of a pod that say what its containers do. Without any they run
// until they are stopped and are ready all the time. They may be changed while
// the pod runs.
const (
	// Exit is the exit code with which the containers end, or several, for one
	// start after the other, separated by commas; the last counts for all further.
	Exit = "simnode.sinawi.dev/exit"
	// ExitOf with a completion index behind it is Exit for the pod of that index.
	ExitOf = "simnode.sinawi.dev/exit-of-"
	// After is how long a start takes until it ends; default 10 ms.
	After = "simnode.sinawi.dev/after"
	// Ready is "false" for containers that are not ready.
	Ready = "simnode.sinawi.dev/ready"
)

const defaultAfter = 10 * time.Millisecond

// program is what a pod's containers do.
type program struct {
	exits []int32 // by start; none: they run on
	after time.Duration
	ready bool
}

// read reads the pod's annotations. What cannot be read counts as not there.
func read(pod *corev1.Pod) program {
	p := program{after: defaultAfter, ready: pod.Annotations[Ready] != "false"}
	if d, err := time.ParseDuration(pod.Annotations[After]); err == nil {
		p.after = d
	}
	text, ok := pod.Annotations[ExitOf+pod.Annotations[batchv1.JobCompletionIndexAnnotation]]
	if !ok {
		text = pod.Annotations[Exit]
	}
	for part := range strings.SplitSeq(text, ",") {
		if n, err := strconv.ParseInt(strings.TrimSpace(part), 10, 32); err == nil {
			p.exits = append(p.exits, int32(n))
		}
	}
	return p
}

// exit is the code with which the start of that number ends.
func (p program) exit(start int32) (code int32, ends bool) {
	if len(p.exits) == 0 {
		return 0, false
	}
	return p.exits[min(int(start), len(p.exits)-1)], true
}

// restarts says whether the pod's containers are started again after that code.
func restarts(pod *corev1.Pod, code int32) bool {
	switch pod.Spec.RestartPolicy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	default:
		return true
	}
}
