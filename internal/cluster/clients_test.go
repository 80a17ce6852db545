package cluster

import (
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/yaml"

	schedulingv1 "github.com/sinawi/sinawi/api/scheduling/v1"
)

// The scheduler reads queues through the same mapper as all else: without them in
// it, no pod with a queue is ever placed.
func TestTheMapperKnowsOurOwnKinds(t *testing.T) {
	var defined apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(schedulingv1.Definition, &defined); err != nil {
		t.Fatal(err)
	}
	kind := schedulingv1.QueueKind()
	got, err := builtinMapper().RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		t.Fatal(err)
	}
	if got.Resource.Resource != defined.Spec.Names.Plural || got.Resource.Group != defined.Spec.Group || got.Scope.Name() != meta.RESTScopeNameRoot {
		t.Errorf("mapped to %+v, defined as %+v", got, defined.Spec.Names)
	}
}

// Certificates of nodes are approved for whom the API says may have one.
func TestTheMapperKnowsWhatIsAsked(t *testing.T) {
	kind := authorizationv1.SchemeGroupVersion.WithKind("SubjectAccessReview")
	got, err := builtinMapper().RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		t.Fatal(err)
	}
	if got.Resource.Resource != "subjectaccessreviews" || got.Scope.Name() != meta.RESTScopeNameRoot {
		t.Errorf("mapped to %+v", got)
	}
}
