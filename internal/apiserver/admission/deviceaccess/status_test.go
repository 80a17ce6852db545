package deviceaccess

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	endpoints "k8s.io/apiserver/pkg/endpoints/request"
)

// rights are what is allowed, as "verb subresource namespace/name".
type rights []string

func (r rights) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	at := a.GetName()
	if a.GetNamespace() != "" {
		at = a.GetNamespace() + "/" + at
	}
	if a.GetResource() == "resourceclaims" && slices.Contains(r, strings.Join([]string{a.GetVerb(), a.GetSubresource(), at}, " ")) {
		return authorizer.DecisionAllow, "", errors.New("a rule is not there") // which others make up for
	}
	return authorizer.DecisionNoOpinion, "no such rule", nil
}

// request is the context of u's request.
func request(t *testing.T, verb string, u user.Info) context.Context {
	t.Helper()
	return endpoints.WithUser(endpoints.WithRequestInfo(t.Context(), &endpoints.RequestInfo{
		IsResourceRequest: true, Verb: verb, APIGroup: resourcev1.GroupName, APIVersion: "v1",
		Namespace: "n", Resource: "resourceclaims", Subresource: "status", Name: "c",
	}), u)
}

// on selects nodes by name.
func on(nodes ...string) *resourcev1.AllocationResult {
	return &resourcev1.AllocationResult{NodeSelector: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: nodes}},
	}}}}
}

// told is a status with what drivers tell, each as driver/device/data.
func told(a *resourcev1.AllocationResult, devices ...string) *resourcev1.ResourceClaim {
	c := &resourcev1.ResourceClaim{Status: resourcev1.ResourceClaimStatus{Allocation: a}}
	for _, d := range devices {
		parts := strings.Split(d, "/")
		c.Status.Devices = append(c.Status.Devices, resourcev1.AllocatedDeviceStatus{
			Driver: parts[0], Pool: "p", Device: parts[1], NetworkData: &resourcev1.NetworkDeviceData{InterfaceName: parts[2]},
		})
	}
	return c
}

func account(nodes ...string) user.Info {
	return &user.DefaultInfo{Name: "system:serviceaccount:n:driver", Extra: map[string][]string{"authentication.kubernetes.io/node-name": nodes}}
}

func TestPartsOfStatus(t *testing.T) {
	const (
		bind   = `status.allocation: Forbidden: changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="update" permission: resourceclaims.resource.k8s.io is forbidden: User "ann" cannot update resource "resourceclaims/binding" in API group "resource.k8s.io" at the cluster scope: no such rule`
		tell   = `status.devices: Forbidden: changing status.devices requires resource="resourceclaims/driver", verb="[arbitrary-node:update]" permission: resourceclaims.resource.k8s.io "d" is forbidden: User "ann" cannot arbitrary-node:update resource "resourceclaims/driver" in API group "resource.k8s.io" in the namespace "n": no such rule`
		either = `verb="[associated-node:update arbitrary-node:update]" permission: resourceclaims.resource.k8s.io "d" is forbidden: User "system:serviceaccount:n:driver" cannot associated-node:update`
		other  = `verb="[arbitrary-node:update]" permission`
	)
	here, ann := on("here"), &user.DefaultInfo{Name: "ann"}
	reserved := told(here)
	reserved.Status.ReservedFor = []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: "p", UID: "1"}}
	labelled := on("here")
	labelled.NodeSelector.NodeSelectorTerms[0].MatchFields[0].Key = "metadata.namespace"
	shared := told(here, "d/x/i")
	share := "s"
	shared.Status.Devices[0].ShareID = &share
	near, far := rights{"associated-node:update driver n/d"}, rights{"arbitrary-node:update driver n/d"}
	for name, c := range map[string]struct {
		rights   rights
		user     user.Info
		verb     string
		obj, old runtime.Object
		want     []string
	}{
		"nothing changes":            {obj: told(here, "d/x/i"), old: told(on("here"), "d/x/i")},
		"allocate":                   {obj: told(here), old: told(nil), want: []string{bind}},
		"allocate with the right":    {rights: rights{"update binding "}, obj: told(here), old: told(nil)},
		"the right in one namespace": {rights: rights{"update binding n/", "update binding n/c"}, obj: told(here), old: told(nil), want: []string{bind}},
		"the right to patch":         {rights: rights{"patch binding "}, obj: told(here), old: told(nil), want: []string{bind}},
		"patch with the right":       {rights: rights{"patch binding "}, verb: "patch", obj: told(here), old: told(nil)},
		"reserve":                    {obj: reserved, old: told(here), want: []string{bind}},
		"release":                    {obj: told(here), old: reserved, want: []string{bind}},
		"free, with what was told":   {rights: rights{"update binding "}, obj: told(nil), old: told(here, "d/x/i")},
		"tell":                       {obj: told(here, "d/x/i"), old: told(here), want: []string{tell}},
		"tell with the right":        {rights: far, obj: told(here, "d/x/i"), old: told(here)},
		"tell of another's":          {rights: far, obj: told(here, "d/x/i", "e/x/i"), old: told(here), want: []string{other}},
		"tell otherwise":             {obj: told(here, "d/x/j"), old: told(here, "d/x/i"), want: []string{tell}},
		"tell no more":               {obj: told(here), old: told(here, "d/x/i"), want: []string{tell}},
		"tell of a share":            {obj: shared, old: told(here, "d/x/i"), want: []string{tell}},
		"leave another's":            {rights: far, obj: told(here, "e/x/i", "d/x/i"), old: told(here, "e/x/i")},
		"bind and tell":              {obj: told(here, "d/x/i"), old: told(nil), want: []string{bind, tell}},
		"the node's own":             {rights: near, user: account("here"), obj: told(here, "d/x/i"), old: told(here)},
		"the node's own, by either":  {rights: far, user: account("here"), obj: told(here, "d/x/i"), old: told(here)},
		"the node's own, by neither": {user: account("here"), obj: told(here, "d/x/i"), old: told(here), want: []string{either}},
		"another node's":             {rights: near, user: account("there"), obj: told(here, "d/x/i"), old: told(here), want: []string{other}},
		"no node's":                  {rights: near, user: account(), obj: told(here, "d/x/i"), old: told(here), want: []string{other}},
		"two nodes'":                 {rights: near, user: account("here", "there"), obj: told(here, "d/x/i"), old: told(here), want: []string{other}},
		"no account": {rights: near, user: &user.DefaultInfo{Name: "system:node:here", Extra: account("here").GetExtra()},
			obj: told(here, "d/x/i"), old: told(here), want: []string{other}},
		"no node's name":      {rights: near, user: account("a_b"), obj: told(on("a_b"), "d/x/i"), old: told(on("a_b")), want: []string{other}},
		"devices of nodes":    {rights: near, user: account("here"), obj: told(on("here", "there"), "d/x/i"), old: told(on("here", "there")), want: []string{other}},
		"devices of all":      {rights: near, user: account("here"), obj: told(&resourcev1.AllocationResult{}, "d/x/i"), old: told(&resourcev1.AllocationResult{}), want: []string{other}},
		"by another selector": {rights: near, user: account("here"), obj: told(labelled, "d/x/i"), old: told(labelled), want: []string{other}},
		"a type unknown":      {rights: rights{"update binding "}, obj: &corev1.Pod{}, old: &corev1.Pod{}, want: []string{"expected type ResourceClaim"}},
	} {
		t.Run(name, func(t *testing.T) {
			verb, u := c.verb, c.user
			if verb == "" {
				verb = "update"
			}
			if u == nil {
				u = ann
			}
			a := admission.NewAttributesRecord(c.obj, c.old, resourcev1.SchemeGroupVersion.WithKind("ResourceClaim"), "n", "c",
				resourcev1.SchemeGroupVersion.WithResource("resourceclaims"), "status", admission.Update, nil, false, u)
			err := New(nil, c.rights).Validate(request(t, verb, u), a, nil)
			var got []string
			if status := apierrors.APIStatus(nil); errors.As(err, &status) {
				for _, cause := range status.Status().Details.Causes {
					got = append(got, cause.Field+": "+cause.Message)
				}
			}
			if !slices.EqualFunc(got, c.want, strings.Contains) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
