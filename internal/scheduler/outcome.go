package scheduler

import (
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// binderName is what kube-scheduler calls the part that binds.
const binderName = "DefaultBinder"

// readOutcome reports whether a place became free again.
func (s *Scheduler) readOutcome(o outcome) bool {
	if apierrors.IsNotFound(o.err) {
		s.queue.Remove(o.pod.UID)
		freed := s.takeOff(o.pod.UID)
		s.batch.Leave(o.pod.UID)
		return freed
	}
	w := s.queue.Of(o.pod.UID)
	if w == nil {
		// The watch has already told that the pod is bound or gone.
		return false
	}
	s.sayFailed(w, fmt.Sprintf("running Bind plugin %q: %v", binderName, o.err))
	s.noteLost(o.pod, fmt.Sprintf("binding it to node %s: %v; it is tried again", o.node, o.err))
	slog.Warn("pod could not be bound, trying again", "pod", client.ObjectKeyFromObject(o.pod), "node", o.node, "err", o.err)
	s.takeOff(o.pod.UID)
	s.unmakeFor(o.pod)
	s.tryAgain(o.pod.UID, time.Now())
	return true
}

// tryAgain puts a pod that lost its place aside for a while, with its unit where
// it has one.
func (s *Scheduler) tryAgain(uid types.UID, now time.Time) {
	m := s.batch.Member(uid)
	if m == nil {
		s.queue.Retry(uid, now)
		return
	}
	s.settle(uid)
	s.batch.ParkToRetry(m.Unit, now)
}
