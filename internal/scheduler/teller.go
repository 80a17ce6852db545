package scheduler

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// teller writes the PodScheduled condition of pods that do not fit, and where
// they are nominated. Only the latest message of a pod is worth writing, so it keeps one
// a pod.
type teller struct {
	client client.Client
	ready  chan struct{}

	mu      sync.Mutex
	pending map[types.UID]news // guarded by mu
}

// news is what a pod is told.
type news struct {
	pod       *corev1.Pod
	reason    string  // of the condition
	message   string  // "": as it is
	nominated *string // nil: as it is
	// first says that the pod was told nothing yet, so that its condition is as it
	// shows: else what was said before may not be seen yet.
	first bool
}

func newTeller(c client.Client) *teller {
	return &teller{client: c, ready: make(chan struct{}, 1), pending: map[types.UID]news{}}
}

// tell is done in a moment, with what is told of the same pod until then.
func (t *teller) tell(n news) {
	t.mu.Lock()
	if old, ok := t.pending[n.pod.UID]; ok {
		if n.message == "" {
			n.reason, n.message = old.reason, old.message
		}
		n.nominated, n.first = cmp.Or(n.nominated, old.nominated), old.first
	}
	t.pending[n.pod.UID] = n
	t.mu.Unlock()
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

func (t *teller) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.ready:
		}
		t.mu.Lock()
		all := t.pending
		t.pending = map[types.UID]news{}
		t.mu.Unlock()
		for _, n := range all {
			if err := t.write(ctx, n); err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) {
				slog.Warn("condition of an unschedulable pod not written", "pod", client.ObjectKeyFromObject(n.pod), "err", err)
			}
		}
	}
}

func (t *teller) write(ctx context.Context, n news) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	condition := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: n.reason,
		Message: n.message, LastTransitionTime: metav1.Now(), ObservedGeneration: n.pod.Generation,
	}
	change := map[string]any{}
	if n.message != "" && (setCondition(n.pod.Status, &condition) || !n.first) {
		change["conditions"] = []corev1.PodCondition{condition}
	}
	if n.nominated != nil { // the pod may not show yet what was said before
		change["nominatedNodeName"] = *n.nominated
	}
	if len(change) == 0 {
		return nil
	}
	return patchStatus(ctx, t.client, n.pod, change)
}

// patchStatus changes parts of a pod's status. They are the patch as they are: to find
// what is new between two states of a pod costs more than to write it.
func patchStatus(ctx context.Context, c client.Client, pod *corev1.Pod, change map[string]any) error {
	data, err := json.Marshal(map[string]any{"status": change})
	if err != nil {
		return err
	}
	named := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
	return c.Status().Patch(ctx, named, client.RawPatch(types.StrategicMergePatchType, data))
}

// setCondition makes a condition ready to take the place of the one of its type, and
// reports whether it says something else.
func setCondition(status corev1.PodStatus, want *corev1.PodCondition) bool {
	for i := range status.Conditions {
		c := &status.Conditions[i]
		if c.Type != want.Type {
			continue
		}
		if c.Status == want.Status {
			want.LastTransitionTime = c.LastTransitionTime
		}
		return c.Status != want.Status || c.Reason != want.Reason || c.Message != want.Message
	}
	return true
}
