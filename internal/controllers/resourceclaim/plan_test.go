package resourceclaim

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestFromTemplate(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p", UID: "u"}}
	template := &resourcev1.ResourceClaimTemplate{Spec: resourcev1.ResourceClaimTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"}},
	}}
	c := fromTemplate(pod, "gpu", template)
	if owner := c.OwnerReferences[0]; owner.Controller == nil || !*owner.Controller || owner.BlockOwnerDeletion != nil {
		t.Errorf("owner %+v", owner)
	}
	if c.GenerateName != "p-gpu-" || c.Labels["a"] != "b" || c.Annotations["c"] != "d" || c.Annotations[resourcev1.PodResourceClaimAnnotation] != "gpu" || isFor(pod, c) != nil {
		t.Errorf("claim: %+v", c.ObjectMeta)
	}
	if len(template.Spec.Annotations) != 1 {
		t.Error("the template was changed")
	}
	pod.Name = strings.Repeat("p", 200)
	if c := fromTemplate(pod, strings.Repeat("g", 50), template); len(c.GenerateName) > maxBase || !strings.Contains(c.GenerateName, "pg") && !strings.Contains(c.GenerateName, "p-g") {
		t.Errorf("name: %s", c.GenerateName)
	}
}

func TestSettle(t *testing.T) {
	user := resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: "p", UID: "u"}
	claim := func(allocated, deleted bool, n int) *resourcev1.ResourceClaim {
		c := &resourcev1.ResourceClaim{}
		if allocated {
			c.Status.Allocation = &resourcev1.AllocationResult{}
			c.Finalizers = []string{resourcev1.Finalizer}
		}
		if deleted {
			c.DeletionTimestamp = &metav1.Time{}
		}
		for range n {
			c.Status.ReservedFor = append(c.Status.ReservedFor, user)
		}
		return c
	}
	for name, c := range map[string]struct {
		claim                   *resourcev1.ResourceClaim
		left                    int
		ownerDone               bool
		status, release, remove bool
	}{
		"in use":                         {claim: claim(true, false, 2), left: 2},
		"one user went":                  {claim: claim(true, false, 2), left: 1, status: true},
		"the last user went":             {claim: claim(true, false, 1), left: 0, status: true, release: true},
		"allocated ahead":                {claim: claim(true, false, 0), left: 0},
		"deleted, unused":                {claim: claim(true, true, 0), left: 0, status: true, release: true},
		"deleted, in use":                {claim: claim(true, true, 1), left: 1},
		"the owner is done":              {claim: claim(true, false, 1), left: 0, ownerDone: true, status: true, release: true, remove: true},
		"the owner is done, not granted": {claim: claim(false, false, 0), left: 0, ownerDone: true, remove: true},
	} {
		t.Run(name, func(t *testing.T) {
			got := settle(c.claim, c.claim.Status.ReservedFor[:c.left], c.ownerDone)
			if got.status != c.status || got.release != c.release || got.remove != c.remove {
				t.Errorf("got %+v", got)
			}
			if got.release && got.next.Status.Allocation != nil {
				t.Error("released with devices")
			}
		})
	}
}

func TestClaims(t *testing.T) {
	direct, made, template := "direct", "made", "t"
	pod := &corev1.Pod{
		Spec: corev1.PodSpec{ResourceClaims: []corev1.PodResourceClaim{
			{Name: "a", ResourceClaimName: &direct}, {Name: "b", ResourceClaimTemplateName: &template},
			{Name: "c", ResourceClaimTemplateName: &template}, {Name: "d", ResourceClaimTemplateName: &template},
		}},
		Status: corev1.PodStatus{ResourceClaimStatuses: []corev1.PodResourceClaimStatus{{Name: "b", ResourceClaimName: &made}, {Name: "c"}}},
	}
	if got := strings.Join(claims(pod), " "); got != "direct made" {
		t.Errorf("claims: %s", got)
	}
}
