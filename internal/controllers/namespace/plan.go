package namespace

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// leftover is what a pass over a namespace found.
type leftover struct {
	discovery error          // some kinds could not be asked for
	failed    []string       // deletions that did not work
	remaining map[string]int // objects still there, by resource
	finalizer map[string]int // of these, by finalizer
}

// empty says that the pass was complete and found nothing.
func (l leftover) empty() bool {
	return l.discovery == nil && len(l.failed) == 0 && len(l.remaining) == 0
}

// String is the same for two passes that found the same.
func (l leftover) String() string {
	return fmt.Sprint(l.discovery, l.failed, l.remaining, l.finalizer)
}

// conditions describes what keeps the namespace from going.
func conditions(have []corev1.NamespaceCondition, l leftover, now metav1.Time) []corev1.NamespaceCondition {
	discovery := ""
	if l.discovery != nil {
		discovery = l.discovery.Error()
	}
	failed := strings.Join(l.failed, ", ")
	remaining := numbers(l.remaining, "%s has %d resource instances")
	finalizers := numbers(l.finalizer, "%s in %d resource instances")
	out := slices.Clone(have)
	for _, c := range []struct {
		kind                  corev1.NamespaceConditionType
		bad, good             string
		badMessage, goodState string
	}{
		{corev1.NamespaceDeletionDiscoveryFailure, "DiscoveryFailed", "ResourcesDiscovered",
			prefix("Discovery failed for some groups: ", discovery), "All resources successfully discovered"},
		{corev1.NamespaceDeletionGVParsingFailure, "GroupVersionParsingFailed", "ParsedGroupVersions",
			"", "All legacy kube types successfully parsed"},
		{corev1.NamespaceDeletionContentFailure, "ContentDeletionFailed", "ContentDeleted",
			prefix("Failed to delete all resource types, "+fmt.Sprint(len(l.failed))+" remaining: ", failed),
			"All content successfully deleted, may be waiting on finalization"},
		{corev1.NamespaceContentRemaining, "SomeResourcesRemain", "ContentRemoved",
			prefix("Some resources are remaining: ", remaining), "All content successfully removed"},
		{corev1.NamespaceFinalizersRemaining, "SomeFinalizersRemain", "ContentHasNoFinalizers",
			prefix("Some content in the namespace has finalizers remaining: ", finalizers),
			"All content-preserving finalizers finished"},
	} {
		next := corev1.NamespaceCondition{Type: c.kind, Status: corev1.ConditionFalse, Reason: c.good, Message: c.goodState}
		if c.badMessage != "" {
			next.Status, next.Reason, next.Message = corev1.ConditionTrue, c.bad, c.badMessage
		}
		next.LastTransitionTime = now
		out = set(out, next)
	}
	return out
}

func set(list []corev1.NamespaceCondition, next corev1.NamespaceCondition) []corev1.NamespaceCondition {
	for i, c := range list {
		if c.Type != next.Type {
			continue
		}
		if c.Status == next.Status {
			next.LastTransitionTime = c.LastTransitionTime
		}
		list[i] = next
		return list
	}
	return append(list, next)
}

func prefix(p, s string) string {
	if s == "" {
		return ""
	}
	return p + s
}

func numbers(of map[string]int, format string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, fmt.Sprintf(format, name, of[name]))
	}
	return strings.Join(parts, ", ")
}
