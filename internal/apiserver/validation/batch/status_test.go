package batch

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/yaml"
)

func TestJobStatusUpdate(t *testing.T) {
	const (
		met    = "conditions: [{type: SuccessCriteriaMet, status: 'True'}]"
		start  = "startTime: 2026-01-01T00:00:00Z"
		done   = "conditions: [{type: SuccessCriteriaMet, status: 'True'}, {type: Complete, status: 'True'}]"
		ended  = "completionTime: 2026-01-01T00:00:01Z"
		failed = "conditions: [{type: FailureTarget, status: 'True'}, {type: Failed, status: 'True'}]"
	)
	for name, tc := range map[string]struct {
		spec, old, now string
		want           []string
	}{
		"begins":   {"", "", start, nil},
		"succeeds": {"", met + ", " + start, done + ", " + start + ", " + ended, nil},
		"fails":    {"", start, failed + ", " + start, nil},
		"ends without a time": {"", met + ", " + start, done + ", " + start, []string{
			`status.completionTime: Required value: completionTime is required for Complete jobs`}},
		"ends at once": {"", start, "conditions: [{type: Complete, status: 'True'}], " + start + ", " + ended, []string{
			`status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition`}},
		"ends both ways": {"", met + ", " + start, "conditions: [{type: SuccessCriteriaMet, status: 'True'}, {type: FailureTarget, status: 'True'}], " + start, []string{
			`status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true conditions`}},
		"goes back": {"", failed + ", " + start + ", failed: 2", start + ", failed: 1", []string{
			`status.conditions: Invalid value: cannot disable the terminal Failed=True condition`,
			`status.conditions: Invalid value: cannot disable the terminal FailureTarget=True condition`,
			`status.failed: Invalid value: 1: cannot decrease the failed counter`}},
		"ends with pods": {"", start, failed + ", " + start + ", active: 1, terminating: 1, uncountedTerminatedPods: {failed: [a]}", []string{
			`status.active: Invalid value: 1: active>0 is invalid for finished job`,
			`status.uncountedTerminatedPods: Invalid value: {"failed":["a"]}: must be empty for finished job`,
			`status.terminating: Invalid value: 1: terminating>0 is invalid for finished job`}},
		"begins anew": {"", start, "", []string{`status.startTime: Invalid value: null: field is immutable for unsuspended job once set`}},
		"suspended":   {"suspend: true", start, "", nil},
		"goes on":     {"", start + ", conditions: [{type: Suspended, status: 'True'}]", "conditions: [{type: Suspended, status: 'False'}], startTime: 2026-01-02T00:00:00Z", nil},
		"more ready than there are": {"", start, start + ", active: 1, ready: 2", []string{
			`status.ready: Invalid value: 2: cannot set more ready pods than active`}},
		"counts twice": {"", start, start + ", uncountedTerminatedPods: {succeeded: [a], failed: [a, '']}", []string{
			`status.uncountedTerminatedPods.failed[0]: Duplicate value: "a"`,
			`status.uncountedTerminatedPods.failed[1]: Invalid value: "": must not be empty`}},
		"indexes of no index": {"completions: 3", start, start + ", completedIndexes: '1,0'", []string{
			`status.completedIndexes: Invalid value: "1,0": error parsing completedIndexes: non-increasing order, previous: 1, current: 0`,
			`status.completedIndexes: Invalid value: "1,0": cannot set non-empty completedIndexes when non-indexed completion mode`}},
		"indexes that did both": {"completionMode: Indexed, completions: 9, backoffLimitPerIndex: 1", start, start + ", completedIndexes: '0,2-4', failedIndexes: '1,4-5'", []string{
			`status.failedIndexes: Invalid value: "1,4-5": failedIndexes and completedIndexes overlap at index: 4`}},
		"fewer successes of a job made smaller": {"completionMode: Indexed, completions: 1, parallelism: 1", start + ", succeeded: 2", start + ", succeeded: 1", nil},
	} {
		t.Run(name, func(t *testing.T) {
			read := func(status string) *batchv1.Job {
				j := &batchv1.Job{}
				text := "{metadata: {name: j, namespace: n, uid: u, resourceVersion: '1'}, spec: {" + tc.spec + "}, status: {" + status + "}}"
				if err := yaml.Unmarshal([]byte(text), j); err != nil {
					t.Fatal(err)
				}
				return j
			}
			var got []string
			for _, e := range JobStatusUpdate(read(tc.now), read(tc.old)) {
				got = append(got, e.Error())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
