package job

import (
	"cmp"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// verdict is what a Job's pod failure policy says about one failed pod.
type verdict struct {
	action  batchv1.PodFailurePolicyAction // empty: no rule matches
	counted bool                           // against the backoff limit
	message string                         // why the whole Job fails
}

// judge applies the Job's policy to a failed pod. The first matching rule wins.
func judge(job *batchv1.Job, pod *corev1.Pod) verdict {
	if job.Spec.PodFailurePolicy == nil {
		return verdict{counted: true}
	}
	for i := range job.Spec.PodFailurePolicy.Rules {
		rule := &job.Spec.PodFailurePolicy.Rules[i]
		what, ok := matches(rule, pod)
		if !ok {
			continue
		}
		switch rule.Action {
		case batchv1.PodFailurePolicyActionIgnore:
			return verdict{action: rule.Action}
		case batchv1.PodFailurePolicyActionFailIndex:
			if job.Spec.BackoffLimitPerIndex == nil {
				continue
			}
			return verdict{action: rule.Action, counted: true}
		case batchv1.PodFailurePolicyActionCount:
			return verdict{action: rule.Action, counted: true}
		case batchv1.PodFailurePolicyActionFailJob:
			message := fmt.Sprintf("%s matching %s rule at index %d", what, rule.Action, i)
			return verdict{action: rule.Action, counted: true, message: message}
		}
	}
	return verdict{counted: true}
}

func matches(rule *batchv1.PodFailurePolicyRule, pod *corev1.Pod) (string, bool) {
	if rule.OnExitCodes != nil {
		c := matchingContainer(rule.OnExitCodes, pod)
		if c == nil {
			return "", false
		}
		return fmt.Sprintf("Container %s for pod %s/%s failed with exit code %v",
			c.Name, pod.Namespace, pod.Name, exitCode(c)), true
	}
	for _, want := range rule.OnPodConditions {
		for _, have := range pod.Status.Conditions {
			if have.Type == want.Type && have.Status == cmp.Or(want.Status, corev1.ConditionTrue) {
				return fmt.Sprintf("Pod %s/%s has condition %v", pod.Namespace, pod.Name, have.Type), true
			}
		}
	}
	return "", false
}

func matchingContainer(want *batchv1.PodFailurePolicyOnExitCodesRequirement, pod *corev1.Pod) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for i := range list {
			c := &list[i]
			if want.ContainerName != nil && *want.ContainerName != c.Name {
				continue
			}
			code := exitCode(c)
			if code == 0 {
				continue // running or well ended
			}
			if slices.Contains(want.Values, code) == (want.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
				return c
			}
		}
	}
	return nil
}

func exitCode(c *corev1.ContainerStatus) int32 {
	if c.State.Terminated == nil {
		return 0
	}
	return c.State.Terminated.ExitCode
}

// successRule returns the message of the first rule of the success policy that
// the succeeded indexes satisfy.
func successRule(job *batchv1.Job, succeeded indexes) (string, bool) {
	if job.Spec.SuccessPolicy == nil || !indexed(job) {
		return "", false
	}
	for i, rule := range job.Spec.SuccessPolicy.Rules {
		among := succeeded
		want := int32(0)
		if rule.SucceededIndexes != nil {
			listed := parseIndexes(*rule.SucceededIndexes, completions(job))
			among = intersect(succeeded, listed)
			want = listed.total()
		}
		if rule.SucceededCount != nil {
			want = *rule.SucceededCount
		}
		if want > 0 && among.total() >= want {
			return fmt.Sprintf("Matched rules at index %d", i), true
		}
	}
	return "", false
}

func intersect(a, b indexes) indexes {
	var out indexes
	for i, j := 0, 0; i < len(a) && j < len(b); {
		first, last := max(a[i].first, b[j].first), min(a[i].last, b[j].last)
		if first <= last {
			out = append(out, interval{first, last})
		}
		if a[i].last < b[j].last {
			i++
		} else {
			j++
		}
	}
	return out
}
