package job

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

func TestIndexes(t *testing.T) {
	for _, tt := range []struct {
		in    string
		limit int
		add   []int
		want  string
		total int32
	}{
		{"", 5, nil, "", 0},
		{"0", 5, nil, "0", 1},
		{"1,3-5", 5, nil, "1,3,4", 3},
		{"1,3-5", 9, []int{2}, "1-5", 5},
		{"0,1,2", 9, []int{8, 7}, "0-2,7,8", 5},
		{"x,2-1,7", 9, nil, "7", 1},
		{"4-9", 3, nil, "", 0},
	} {
		got := parseIndexes(tt.in, tt.limit).with(tt.add...)
		if got.String() != tt.want || got.total() != tt.total {
			t.Errorf("%q with %v: %q of %d, want %q of %d", tt.in, tt.add, got, got.total(), tt.want, tt.total)
		}
	}
}

func FuzzIndexes(f *testing.F) {
	f.Add("1,3-5,7")
	f.Fuzz(func(t *testing.T, s string) {
		x := parseIndexes(s, 1000)
		if again := parseIndexes(x.String(), 1000); again.String() != x.String() || again.total() != x.total() {
			t.Errorf("%q reads as %q and then as %q", s, x, again)
		}
	})
}

func exited(code int32) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "pod"},
		Status: corev1.PodStatus{
			Phase:      corev1.PodFailed,
			Conditions: []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}},
			ContainerStatuses: []corev1.ContainerStatus{{
				Name: "main", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}},
			}},
		},
	}
}

func TestJudge(t *testing.T) {
	rules := []batchv1.PodFailurePolicyRule{
		{Action: batchv1.PodFailurePolicyActionFailJob, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
			Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{42},
		}},
		{Action: batchv1.PodFailurePolicyActionCount, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
			Operator: batchv1.PodFailurePolicyOnExitCodesOpNotIn, Values: []int32{1, 2},
		}},
		{Action: batchv1.PodFailurePolicyActionIgnore, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{
			{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue},
		}},
	}
	job := &batchv1.Job{Spec: batchv1.JobSpec{PodFailurePolicy: &batchv1.PodFailurePolicy{Rules: rules}}}
	for code, want := range map[int32]verdict{
		42: {action: batchv1.PodFailurePolicyActionFailJob, counted: true,
			message: "Container main for pod ns/pod failed with exit code 42 matching FailJob rule at index 0"},
		7: {action: batchv1.PodFailurePolicyActionCount, counted: true},
		1: {action: batchv1.PodFailurePolicyActionIgnore},
	} {
		if got := judge(job, exited(code)); got != want {
			t.Errorf("exit code %d: %+v, want %+v", code, got, want)
		}
	}
	if got := judge(&batchv1.Job{}, exited(1)); !got.counted {
		t.Error("without a policy every failure counts")
	}
}

func TestSuccessRule(t *testing.T) {
	job := &batchv1.Job{Spec: batchv1.JobSpec{
		Completions: p(int32(10)), CompletionMode: p(batchv1.IndexedCompletion),
		SuccessPolicy: &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{
			{SucceededIndexes: p("0,2-4"), SucceededCount: p(int32(2))},
			{SucceededIndexes: p("8-9")},
		}},
	}}
	for in, want := range map[string]string{
		"0": "", "0,1": "", "0,3": "Matched rules at index 0", "5-8": "", "8,9": "Matched rules at index 1",
	} {
		if got, _ := successRule(job, parseIndexes(in, 10)); got != want {
			t.Errorf("indexes %q: %q, want %q", in, got, want)
		}
	}
}

func TestBackoff(t *testing.T) {
	var got []time.Duration
	for n := range 9 {
		got = append(got, backoff(n))
	}
	want := []time.Duration{0, 10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second,
		160 * time.Second, 320 * time.Second, 600 * time.Second, 600 * time.Second}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestWanted(t *testing.T) {
	for _, tt := range []struct {
		name                     string
		parallelism, completions *int32
		succeeded                int32
		active, want             int
	}{
		{"a work queue that began", p(int32(3)), nil, 0, 3, 3},
		{"a work queue where one succeeded", p(int32(3)), nil, 1, 2, 2},
		{"plenty to do", p(int32(3)), p(int32(10)), 2, 0, 3},
		{"the last", p(int32(3)), p(int32(10)), 9, 0, 1},
		{"stopped by hand", p(int32(0)), p(int32(10)), 0, 2, 0},
	} {
		job := &batchv1.Job{Spec: batchv1.JobSpec{Parallelism: tt.parallelism, Completions: tt.completions}}
		job.Status.Succeeded = tt.succeeded
		y := newState(snapshot{job: job}, time.Now())
		y.active = make([]*corev1.Pod, tt.active)
		if got := y.wanted(); got != tt.want {
			t.Errorf("%s: %d pods, want %d", tt.name, got, tt.want)
		}
	}
}

func runs(name string, index int, restarts int32) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID(name), Finalizers: []string{batchv1.JobTrackingFinalizer},
			Annotations: map[string]string{batchv1.JobCompletionIndexAnnotation: fmt.Sprint(index), batchv1.JobIndexFailureCountAnnotation: "0"},
		},
		Status: corev1.PodStatus{
			Phase:             corev1.PodRunning,
			Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			ContainerStatuses: []corev1.ContainerStatus{{RestartCount: restarts}},
		},
	}
}

// The API server takes no status with more ready pods than active ones.
func TestStoppedPodsAreNotReady(t *testing.T) {
	job := &batchv1.Job{Spec: batchv1.JobSpec{Parallelism: p(int32(2)), Completions: p(int32(2)), BackoffLimit: p(int32(1))}}
	job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	got := decide(snapshot{job: job, pods: []*corev1.Pod{runs("a", 0, 1), runs("b", 1, 0)}}, time.Now())
	if len(got.remove) != 2 || got.status.Active != 0 || *got.status.Ready != 0 || *got.status.Terminating != 2 {
		t.Errorf("%d pods to remove, status %+v", len(got.remove), got.status)
	}
	if c := ending(got.status); c == nil || c.Reason != batchv1.JobReasonBackoffLimitExceeded {
		t.Errorf("ends as %+v", c)
	}
}

// What runs when a Job ends is not what it ends for: it counts as failed with a Job
// that fails, fails no index by that, and is forgotten with one that succeeds.
func TestPodsStoppedAtTheEnd(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		name   string
		first  corev1.PodPhase
		want   int32
		forget bool
	}{
		{"an index failed", corev1.PodFailed, 2, false},
		{"an index did enough", corev1.PodSucceeded, 0, true},
	} {
		job := &batchv1.Job{Spec: batchv1.JobSpec{
			Parallelism: p(int32(2)), Completions: p(int32(2)), CompletionMode: p(batchv1.IndexedCompletion),
			BackoffLimit: p(int32(9)), BackoffLimitPerIndex: p(int32(0)), MaxFailedIndexes: p(int32(0)),
			PodReplacementPolicy: p(batchv1.Failed),
			SuccessPolicy:        &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededCount: p(int32(1))}}},
		}}
		ended, stopped := runs("a", 0, 0), runs("b", 1, 0)
		ended.Status.Phase = tt.first
		got := decide(snapshot{job: job, pods: []*corev1.Pod{ended, stopped}}, now)
		if got.forget != tt.forget || len(got.remove) != 1 {
			t.Errorf("%s: %+v", tt.name, got)
		}
		ended.Finalizers = nil
		at := metav1.NewTime(now)
		stopped.DeletionTimestamp = &at
		if got.forget {
			stopped.Finalizers = nil
		}
		for range 2 {
			if len(got.events) != 0 {
				t.Errorf("%s: events %v before the end", tt.name, got.events)
			}
			job.Status = got.status
			got = decide(snapshot{job: job, pods: []*corev1.Pod{ended, stopped}}, now)
			for _, pod := range got.release {
				pod.Finalizers = nil
			}
		}
		job.Status = got.status
		got = decide(snapshot{job: job, pods: []*corev1.Pod{ended}}, now)
		if len(got.events) != 1 { // its end is told of when it has come
			t.Errorf("%s: events %v", tt.name, got.events)
		}
		if got.status.Failed != tt.want || terminal(&batchv1.Job{Status: got.status}) == nil {
			t.Errorf("%s: %+v", tt.name, got.status)
		}
		if f := got.status.FailedIndexes; tt.want > 0 && (f == nil || *f != "0") {
			t.Errorf("%s: failed indexes %v", tt.name, f)
		}
	}
}

// TestStreak: a pod that failed and is gone still counts, until another succeeds.
func TestStreak(t *testing.T) {
	job := &batchv1.Job{}
	at := func(s int64) metav1.Time { return metav1.NewTime(time.Unix(s, 0)) }
	ended := func(uid types.UID, phase corev1.PodPhase, when int64) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid, Finalizers: []string{batchv1.JobTrackingFinalizer}}, Status: corev1.PodStatus{
			Phase:      phase,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: at(when)}},
		}}
	}
	surplus := ended("e", corev1.PodFailed, 99)
	surplus.Finalizers = nil
	var s streak
	for _, step := range []struct {
		name string
		pods []*corev1.Pod
		want time.Duration // to wait at 100
	}{
		{"nothing ended", nil, 0},
		{"one too many was stopped", []*corev1.Pod{surplus}, 0},
		{"one failed", []*corev1.Pod{ended("a", corev1.PodFailed, 95)}, 5 * time.Second},
		{"the same, seen again", []*corev1.Pod{ended("a", corev1.PodFailed, 95)}, 5 * time.Second},
		{"it is gone", nil, 5 * time.Second},
		{"another failed", []*corev1.Pod{ended("b", corev1.PodFailed, 98)}, 18 * time.Second},
		{"one succeeded between them", []*corev1.Pod{ended("c", corev1.PodSucceeded, 97)}, 8 * time.Second},
		{"one succeeded after them", []*corev1.Pod{ended("d", corev1.PodSucceeded, 99), ended("b", corev1.PodFailed, 98)}, 0},
	} {
		s = s.with(job, step.pods)
		if got := s.wait(time.Unix(100, 0)); got != step.want {
			t.Errorf("%s: %v, want %v", step.name, got, step.want)
		}
	}
}

func TestFinishTime(t *testing.T) {
	at := func(s int64) metav1.Time { return metav1.NewTime(time.Unix(s, 0)) }
	deleted := at(60)
	exit := func(s int64) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: at(s)}}
	}
	ready := func(status corev1.ConditionStatus) []corev1.PodCondition {
		return []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: at(20)}}
	}
	for _, tt := range []struct {
		name string
		pod  corev1.Pod
		want int64
	}{
		{"all ended", corev1.Pod{Status: corev1.PodStatus{Conditions: ready("False"), ContainerStatuses: []corev1.ContainerStatus{{State: exit(5)}, {State: exit(7)}}}}, 7},
		{"one runs", corev1.Pod{Status: corev1.PodStatus{Conditions: ready("False"), ContainerStatuses: []corev1.ContainerStatus{{State: exit(5)}, {}}}}, 20},
		{"ready until deleted", corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &deleted, DeletionGracePeriodSeconds: p(int64(30))}, Status: corev1.PodStatus{Conditions: ready("True")}}, 30},
		{"nothing is known", corev1.Pod{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: at(3)}}, 3},
	} {
		if got := finishTime(&tt.pod).Unix(); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// world plays API server and agent for one Job: what the plan asks for is done,
// but any part of it may fail to be done, as in a crash.
type world struct {
	*rapid.T
	job  *batchv1.Job
	pods []*corev1.Pod
	now  time.Time
	made int
	// ends are how pods really ended.
	succeeded, failed map[types.UID]bool
}

func (w *world) step() {
	plan := decide(snapshot{job: w.job, pods: w.pods}, w.now)
	for _, c := range plan.create {
		w.made++
		pod := build(w.job, c)
		pod.Name = fmt.Sprintf("pod-%d", w.made)
		pod.UID = types.UID(pod.Name)
		pod.CreationTimestamp = metav1.NewTime(w.now)
		w.pods = append(w.pods, pod)
	}
	for _, pod := range plan.remove {
		if plan.forget {
			pod.Finalizers = nil
		}
		w.pods = without(w.pods, pod)
	}
	if rapid.IntRange(0, 3).Draw(w.T, "crash before status") == 0 {
		return
	}
	w.job = w.job.DeepCopy()
	w.job.Status = plan.status
	for _, pod := range plan.release {
		if rapid.IntRange(0, 3).Draw(w.T, "crash before release") == 0 {
			return
		}
		pod.Finalizers = nil
	}
}

func without(pods []*corev1.Pod, gone *corev1.Pod) []*corev1.Pod {
	var out []*corev1.Pod
	for _, pod := range pods {
		if pod != gone {
			out = append(out, pod)
		}
	}
	return out
}

func (w *world) endSome() {
	for _, pod := range w.pods {
		if pod.Status.Phase != "" {
			continue
		}
		switch rapid.SampledFrom([]string{"run", "succeed", "fail"}).Draw(w.T, "pod") {
		case "succeed":
			pod.Status.Phase = corev1.PodSucceeded
			w.succeeded[pod.UID] = true
		case "fail":
			pod.Status.Phase = corev1.PodFailed
			w.failed[pod.UID] = true
		}
	}
	if rapid.Bool().Draw(w.T, "collect") {
		for _, pod := range w.pods {
			if pod.Status.Phase != "" && !tracked(pod) {
				w.pods = without(w.pods, pod) // somebody deleted it
				return
			}
		}
	}
}

func TestCountsAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{T: t, now: time.Unix(1e9, 0), succeeded: map[types.UID]bool{}, failed: map[types.UID]bool{}}
		w.job = &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Name: "job", UID: "job"},
			Spec: batchv1.JobSpec{
				Parallelism: p(rapid.Int32Range(1, 4).Draw(t, "parallelism")),
				Completions: p(rapid.Int32Range(1, 6).Draw(t, "completions")), BackoffLimit: p(int32(1000)),
			},
		}
		if rapid.Bool().Draw(t, "indexed") {
			w.job.Spec.CompletionMode = p(batchv1.IndexedCompletion)
		}
		for range 200 {
			w.step()
			w.now = w.now.Add(time.Hour)
			if end := terminal(w.job); end != nil {
				if end.Type != batchv1.JobComplete {
					t.Fatalf("ended as %v", end)
				}
				break
			}
			w.endSome()
		}
		if terminal(w.job) == nil {
			t.Skip("unlucky: not ended")
		}
		s := w.job.Status
		if s.Succeeded != *w.job.Spec.Completions || int(s.Succeeded) != len(w.succeeded) {
			t.Fatalf("counted %d successes of %d wanted, %d pods succeeded", s.Succeeded, *w.job.Spec.Completions, len(w.succeeded))
		}
		if int(s.Failed) != len(w.failed) {
			t.Fatalf("counted %d failures, %d pods failed", s.Failed, len(w.failed))
		}
	})
}

func p[T any](v T) *T { return &v }
